"""The controller as a process, and a namespace for its mailers: what the controller's tests are written with.

Standard library only. Nothing here reads the controller's memory: all that a test sees is what a user could see.
"""

from __future__ import annotations

import base64
import http.client
import json
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster_rig.clients import Client

from support.emulator_client import EmulatorClient
from support.process import WITHIN, Process
from support.waiting import eventually

ALLOW_LOOPBACK = ("--allow-authority-host", "127.0.0.1", "--allow-submission-host", "127.0.0.1")
"""Mailers may name the emulator."""
CREDENTIAL = {"clientSecret": {"secretRefs": [{"name": "entra", "key": "secret"}]}}
TRIES = 5
"""Requests to the controller's health port."""


class ControllerProcess(Process):
    """`o365mailer-controller` as a process of its own."""

    def __init__(
        self,
        *,
        kubeconfig: Path,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        name: str = "controller",
    ) -> None:
        command = [sys.executable, "-m", "o365mailer_operator.controller", "--health", "127.0.0.1:0"]
        command += ["--identity", name, "--lease-duration", "5s", "--reconcile-interval", "3s", *arguments]
        super().__init__(command, environment={"KUBECONFIG": str(kubeconfig), **(environment or {})})

    def lines(self) -> list[dict[str, Any]]:
        """The log, decoded. A line that is no JSON fails the test: collectors would choke on it."""
        return [json.loads(line) for line in [*self.said, *self.errors]]

    def logged(self, message: str) -> dict[str, Any] | None:
        """The first log line with this message."""
        return next((line for line in self.lines() if line["message"] == message), None)

    def wait_until_leading(self) -> None:
        """Wait until the controller holds the Lease."""
        self.hear(lambda: self.logged("leading"), "leading")

    @property
    def health(self) -> str:
        """The address of its probes and metrics."""
        line = self.hear(lambda: self.logged("listening"), "listening")
        return f"http://{line['health'][0]}"

    def http(self, path: str) -> tuple[int, str]:
        """The status and the text that a GET returns.

        On a machine with much else to do the controller may be too slow for its own bound, and close the connection.
        """
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(TRIES):
            try:
                with opener.open(self.health + path, timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as refusal:
                with refusal:
                    return refusal.code, refusal.read().decode()
            except http.client.RemoteDisconnected:
                continue
        raise AssertionError(f"no answer from {path} in {TRIES} requests")

    def metric(self, sample: str) -> float | None:
        """The value of a sample such as `o365mailer_ready{name="a",namespace="b"}`; None where there is none."""
        for line in self.http("/metrics")[1].splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return None


@dataclass(frozen=True)
class Namespace:
    """A namespace with helpers for mailers whose Entra is the emulator."""

    name: str
    kubectl: Client
    emulator: EmulatorClient
    made: list[str] = field(default_factory=list)

    def secret(self, name: str, data: Mapping[str, str], **metadata: Any) -> None:
        """Creates or changes a Secret."""
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, **metadata}, "stringData": data}
        self.kubectl.apply(manifest, namespace=self.name)

    def config_map(self, name: str, data: Mapping[str, str], *, binary: Mapping[str, bytes] | None = None) -> None:
        """Creates or changes a ConfigMap, `data` as text, `binary` in base64. It may be too large for an annotation."""
        encoded = {key: base64.b64encode(value).decode() for key, value in (binary or {}).items()}
        content = {"data": dict(data), "binaryData": encoded}
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **content}
        self.kubectl(
            *("apply", "--server-side", "--force-conflicts", "-n", self.name, "-f", "-"), stdin=json.dumps(manifest)
        )

    def credentials(self) -> None:
        """The Secrets that a mailer needs which is right in everything."""
        self.secret("entra", {"secret": self.emulator.client_secret})
        self.secret("emulator-ca", {"ca.crt": Path(self.emulator.ca_file).read_text()})

    def manifest(self, name: str = "noreply", *, annotations: Mapping[str, str] | None = None, **spec: Any) -> Any:
        """A mailer that is right in everything but what `spec` says."""
        trust = {"ca": {"secretRef": {"name": "emulator-ca"}}}
        right = {
            "tenantId": self.emulator.tenant,
            "clientId": self.emulator.client_id,
            "mailbox": self.emulator.mailbox,
            "authority": {"url": self.emulator.authority, **trust},
            "submission": {"host": self.emulator.smtp_host, "port": self.emulator.smtp_port, **trust},
            "credential": CREDENTIAL,
        }
        return {
            "apiVersion": "o365mailer.dev/v1alpha1",
            "kind": "O365Mailer",
            "metadata": {"name": name, "annotations": dict(annotations or {})},
            "spec": {member: value for member, value in {**right, **spec}.items() if value is not None},
        }

    def apply_mailer(self, name: str = "noreply", *, annotations: Mapping[str, str] | None = None, **spec: Any) -> None:
        """Creates or changes a mailer."""
        self.kubectl.apply(self.manifest(name, annotations=annotations, **spec), namespace=self.name)
        if name not in self.made:
            self.made.append(name)

    def find(self, kind: str, name: str) -> Any:
        """The object; None if there is none."""
        found = self.kubectl("get", kind, name, "-n", self.name, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found else None

    def condition(self, kind: str = "Ready", mailer: str = "noreply") -> dict[str, Any] | None:
        """One condition of a mailer."""
        status = (self.find("o365mailer", mailer) or {}).get("status", {})
        return next((each for each in status.get("conditions", []) if each["type"] == kind), None)

    def await_condition(
        self, reason: str, *, kind: str = "Ready", mailer: str = "noreply", within: float = WITHIN
    ) -> dict[str, Any]:
        """The condition, once it has this reason for the mailer's present generation."""

        def reached() -> dict[str, Any] | None:
            generation = self.find("o365mailer", mailer)["metadata"]["generation"]
            condition = self.condition(kind, mailer)
            if condition and (condition["reason"], condition["observedGeneration"]) == (reason, generation):
                return condition
            return None

        try:
            return eventually(reached, within=within)
        except AssertionError:
            found = self.find("o365mailer", mailer).get("status")
            raise AssertionError(f"{kind} did not become {reason}; status: {json.dumps(found, indent=1)}") from None

    def await_ready(self, mailer: str = "noreply", *, within: float = WITHIN) -> dict[str, Any]:
        """The mailer, once it is Ready."""
        self.await_condition("TokenValid", mailer=mailer, within=within)
        return dict(self.find("o365mailer", mailer))

    def files(self, mailer: str = "noreply") -> dict[str, bytes] | None:
        """The mailer directory in the token Secret, or None where there is no Secret."""
        secret = self.find("secret", f"o365mailer.{mailer}")
        return {key: base64.b64decode(value) for key, value in secret.get("data", {}).items()} if secret else None

    def settings(self, mailer: str = "noreply") -> Any:
        """The settings document, decoded; None where there is none."""
        files = self.files(mailer)
        return json.loads(files["mailer.json"]) if files else None

    def events(self, mailer: str = "noreply") -> list[dict[str, Any]]:
        """The mailer's Events, without those of an earlier mailer of its name."""
        selector = f"regarding.uid={self.find('o365mailer', mailer)['metadata']['uid']}"
        found = self.kubectl.json("get", "events.events.k8s.io", "-n", self.name, "--field-selector", selector)
        return list(found["items"])

    def tidy(self) -> None:
        """Removes the mailers that were made, with their Secrets, so that the next test finds nothing."""
        if self.made:
            self.kubectl("delete", "o365mailer", *self.made, "-n", self.name, "--ignore-not-found")
            secrets = [f"o365mailer.{name}" for name in self.made]
            self.kubectl("delete", "secret", *secrets, "-n", self.name, "--ignore-not-found")
            self.made.clear()
