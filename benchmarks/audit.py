"""An API server of the rig that records each request of the controller in an audit log.

The audit log counts truly: it has every request, a watch and a failed one too, with its object and its user. The
metrics of the API server do not say who asked.
https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/, read 2026-11-28.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cluster_rig import programs
from cluster_rig.control_plane import ControlPlane

SERVER: Final = "kube-apiserver"
ARRIVAL: Final = ("ResponseStarted", "ResponseComplete", "Panic")
"""The stages that are left out: each request is recorded once, when it arrives."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request. `at` is Unix time."""

    at: float
    verb: str
    resource: str
    namespace: str
    name: str

    @property
    def mailer(self) -> tuple[str, str]:
        """Namespace and name of the mailer that it is about."""
        return self.namespace, self.name.removeprefix("o365mailer.")

    @property
    def looks(self) -> bool:
        """Whether it reads a token Secret, as each reconcile of a mailer does."""
        return (self.verb, self.resource) == ("get", "secrets") and self.name.startswith("o365mailer.")


@dataclass(kw_only=True)
class AuditedControlPlane(ControlPlane):
    """A control plane whose API server records the requests of one user."""

    user: str
    _flags: list[str] = field(default_factory=list, init=False)

    @property
    def log(self) -> Path:
        """The audit log, one JSON document a line."""
        return self.directory / "audit.log"

    def apiserver_flags(self, port: int, etcd: int) -> list[str]:
        """The flags of the rig, and those of the audit."""
        policy = self.directory / "audit-policy.json"
        rules = [{"level": "Metadata", "users": [self.user]}, {"level": "None"}]
        document = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ARRIVAL, "rules": rules}
        policy.write_text(json.dumps(document))
        audit = [f"--audit-policy-file={policy}", f"--audit-log-path={self.log}", "--audit-log-maxsize=1000"]
        self._flags = [*super().apiserver_flags(port, etcd), *audit]
        return self._flags

    def requests(self, since: float, until: float) -> Iterator[Request]:
        """The requests that arrived between two instants."""
        whole, _, _ = self.log.read_text().rpartition("\n")  # the API server may be writing the last line
        for line in whole.splitlines():
            event = json.loads(line)
            at = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
            if since <= at < until:
                about = event.get("objectRef", {})
                yield Request(
                    at=at,
                    verb=event["verb"],
                    resource=about.get("resource", ""),
                    namespace=about.get("namespace", ""),
                    name=about.get("name", ""),
                )

    def stop_server(self) -> None:
        """The API server goes away; what it has stored stays."""
        self.processes.stop(SERVER)

    def start_server(self) -> None:
        """It comes back on the same port. `api_is_ready` says when it answers."""
        program = programs.build(programs.CONTROL_PLANE, self.release)[SERVER]
        self.processes.start(SERVER, [program, *self._flags])
