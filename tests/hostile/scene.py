"""One installation with two tenants of the cluster: a neighbour who wants to mail, and a user who wants to stop it.

Controller and webhook run with the chart's rights and watch every namespace. The hostile user has the ClusterRole
`edit`, with what the chart adds to it, in one namespace of their own, and nothing else.
"""

import base64
import contextlib
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from support.controller_process import ControllerProcess
from support.emulator_client import EmulatorClient
from support.process import Process
from support.waiting import eventually
from webhook.process import WebhookProcess

from hostile.user import MAILERS, PODS, SECRETS, Manifest, User, secret

VALUES = Path(__file__).parents[2] / "charts" / "o365mailer" / "values.yaml"
INJECT = "o365mailer.dev/inject"
READY = ("True", "TokenValid")


def peak(process: Process) -> int:
    """The most memory that the process has had, in bytes."""
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.process.pid}/status").read_text())
    return int(kibibytes) << 10


def limit(part: str) -> int:
    """The chart's memory limit of the controller or the webhook, in bytes."""
    text = yaml.safe_load(VALUES.read_text())[part]["resources"]["limits"]["memory"]
    assert text.endswith("Mi"), text
    return int(text.removesuffix("Mi")) << 20


@dataclass
class Tenancy:
    """A namespace, and the user who works in it."""

    name: str
    user: User
    emulator: EmulatorClient

    def path(self, collection: str, name: str = "", subresource: str = "") -> str:
        """The path of a collection of the namespace, or of one of its objects."""
        return "/".join(part for part in (collection.format(self.name), name, subresource) if part)

    def credentials(self, *, value: str | None = None) -> None:
        """The Secrets of a mailer that is right in everything."""
        client_secret = self.emulator.client_secret if value is None else value
        self.user.create(
            self.path(SECRETS),
            secret("entra", {"secret": client_secret.encode()}),
            secret("emulator-ca", {"ca.crt": Path(self.emulator.ca_file).read_bytes()}),
        )

    def clear(self) -> None:
        """Delete the mailers and Secrets of the namespace."""
        for collection in (MAILERS, SECRETS):
            assert self.user.request("DELETE", self.path(collection))[0] == 200

    def mailer(
        self, name: str, *, annotations: Mapping[str, str] | None = None, finalizers: tuple[str, ...] = (), **spec: Any
    ) -> Manifest:
        """A mailer that is right in everything but what `spec` says."""
        trust = {"ca": {"secretRef": {"name": "emulator-ca"}}}
        right = {
            "tenantId": self.emulator.tenant,
            "clientId": self.emulator.client_id,
            "mailbox": self.emulator.mailbox,
            "authority": {"url": self.emulator.authority, **trust},
            "submission": {"host": self.emulator.smtp_host, "port": self.emulator.smtp_port, **trust},
            "credential": {"clientSecret": {"secretRefs": [{"name": "entra", "key": "secret"}]}},
        }
        metadata: Manifest = {"name": name, "annotations": dict(annotations or {}), "finalizers": list(finalizers)}
        return {
            "apiVersion": "o365mailer.dev/v1alpha1",
            "kind": "O365Mailer",
            "metadata": metadata,
            "spec": {**right, **spec},
        }

    def find(self, collection: str, name: str) -> Manifest | None:
        """The object; None if there is none."""
        status, document = self.user.request("GET", self.path(collection, name))
        return document if status == 200 else None

    def condition(self, mailer: str, kind: str = "Ready") -> Manifest | None:
        """One condition of a mailer."""
        status = (self.find(MAILERS, mailer) or {}).get("status", {})
        return next((each for each in status.get("conditions", []) if each["type"] == kind), None)

    def has_reason(self, mailer: str, reason: str) -> bool:
        """Whether the controller has told this reason."""
        status = (self.find(MAILERS, mailer) or {}).get("status", {})
        return reason in [each["reason"] for each in status.get("conditions", [])]

    def pod(self, **annotations: str) -> Manifest:
        """A pod that asks for a relay."""
        metadata = {"name": f"app-{uuid.uuid4().hex[:8]}", "annotations": {INJECT: "noreply", **annotations}}
        spec = {"containers": [{"name": "app", "image": "app"}]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def admit(self, pod: Manifest) -> tuple[int, Any]:
        """The answer to the creation of a pod, which the API server does not store."""
        return self.user.request("POST", self.path(PODS) + "?dryRun=All", pod)


@dataclass
class Neighbour(Tenancy):
    """The tenant who must not notice anything."""

    ready_since: str = ""
    count: int = 0

    def settle(self) -> None:
        """Has a mailer that is Ready."""
        self.credentials()
        self.user.create(self.path(MAILERS), self.mailer("noreply"))
        eventually(lambda: self._is_ready("noreply"), "the neighbour's mailer is Ready", within=120)
        self.ready_since = self._ready("noreply")["lastTransitionTime"]

    def works(self, *, within: float = 60.0) -> None:
        """All that this tenant needs is done: looks, a new mailer with its token, pods. AssertionError if not."""
        token_secret = self.path(SECRETS, "o365mailer.noreply")
        for _ in range(2):  # only a periodic look finds that the Secret has lost its owner
            self.user.change(token_secret, {"metadata": {"ownerReferences": None}})
            eventually(lambda: self._owned(token_secret), "a look at the neighbour's mailer", within=within)
        self.count += 1
        name = f"new-{self.count}"
        self.user.create(self.path(MAILERS), self.mailer(name, annotations={"o365mailer.dev/refresh": "now"}))
        eventually(lambda: self._is_ready(name), "the neighbour's new mailer is Ready", within=within)
        for _ in range(10):
            status, document = self.admit(self.pod())
            assert status == 201, document
            assert document["spec"]["initContainers"][0]["name"] == "o365mailer"
        ready = self._ready("noreply")
        assert (ready["status"], ready["reason"]) == READY
        assert ready["lastTransitionTime"] == self.ready_since

    def _ready(self, mailer: str) -> Manifest:
        condition = self.condition(mailer)
        assert condition is not None
        return condition

    def _is_ready(self, mailer: str) -> bool:
        condition = self.condition(mailer)
        return condition is not None and (condition["status"], condition["reason"]) == READY

    def _owned(self, path: str) -> bool:
        return bool(self.user.request("GET", path)[1]["metadata"].get("ownerReferences"))

    def secrets(self) -> list[bytes]:
        """What no other tenant may read: the client secret and the token."""
        held = self.find(SECRETS, "o365mailer.noreply")
        assert held is not None
        return [self.emulator.client_secret.encode(), base64.b64decode(held["data"]["access_token"])]


@dataclass(frozen=True)
class Scene:
    """The whole of it."""

    controller: ControllerProcess
    webhook: WebhookProcess
    neighbour: Neighbour
    hostile: Tenancy
    emulator: EmulatorClient
    admin: User = field(repr=False)
    before: int
    """Bytes of memory that the controller had before any attack."""

    def grown(self) -> int:
        """Bytes by which the most memory that the controller has had is larger now."""
        return peak(self.controller) - self.before

    def unharmed(self) -> None:
        """The processes are those that they were, within the chart's memory, and have met no defect of theirs."""
        for name, process in (("controller", self.controller), ("webhook", self.webhook)):
            assert process.process.poll() is None, process.stderr()[-3000:]
            assert peak(process) < limit(name), f"{name}: {peak(process) >> 20} MiB"
        assert [
            line for line in self.controller.lines() if line["level"] == "error" or "defect" in line["message"]
        ] == []
        assert [line for line in self.webhook.log if line["level"] == "error"] == []

    @contextlib.contextmanager
    def looped(self, step: Callable[[int], object], *, threads: int = 1) -> Iterator[list[int]]:
        """Repeats `step` with a growing number, in threads, while the context lasts. Gives how often each has run."""
        over = threading.Event()
        rounds = [0] * threads
        failures: list[BaseException] = []

        def run(place: int) -> None:
            while not over.is_set():
                try:
                    step(rounds[place] * threads + place)
                except BaseException as error:  # noqa: BLE001 - told at the end
                    failures.append(error)
                    return
                rounds[place] += 1

        running = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(threads)]
        for thread in running:
            thread.start()
        try:
            yield rounds
        finally:
            over.set()
            for thread in running:
                thread.join()
        if failures:
            raise failures[0]
