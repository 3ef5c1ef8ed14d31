"""The product in a real cluster, installed by Helm as a user installs it, with the Office 365 emulator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster import apps
from cluster.office365 import Office365
from cluster.record import Record
from cluster.team import Team
from cluster_rig import tryout
from cluster_rig.choice import Cluster
from cluster_rig.clients import Client
from cluster_rig.given import GivenCluster
from support.waiting import eventually

from o365mailer_contract import names

RELEASE = "o365mailer"
OPERATOR = tryout.OPERATOR
CONTROLLER, WEBHOOK = "controller", "webhook"
TOKEN_SECONDS = 90
"""A token's lifetime while the tests run: its renewal is due after 54 to 68 s, and a changed Secret is in the pods
within about 7 s where kubelet looks every 5 s."""


@dataclass(kw_only=True)
class Installation:
    """What every end-to-end test finds."""

    cluster: Cluster
    office365: Office365
    image: str
    """Has python3; apps run in it."""
    authority: str
    """The emulator's certificate authority, PEM."""
    record: Record = field(default_factory=Record)
    steady: Team = field(init=False)
    """A team whose two pods mail every two seconds from the beginning to the end."""

    @property
    def kubectl(self) -> Client:
        """Without a namespace."""
        return self.cluster.kubectl

    def team(self, *, restricted: bool = True) -> Team:
        """A new team; enter it to make its namespace."""
        return Team(
            cluster=self.cluster,
            office365=self.office365,
            record=self.record,
            image=self.image,
            authority=self.authority,
            restricted=restricted,
        )

    @contextmanager
    def changed(self, *values: str) -> Iterator[None]:
        """The chart with other values, `"webhook.replicas=0"`, for as long as the context lasts.

        What the operator's pods have said until then is kept, because some of them will be gone.
        """
        self.keep_record()
        where, wait = ("--namespace", OPERATOR), ("--wait", "--timeout", "90s")
        sets = [part for value in values for part in ("--set", value)]
        self.cluster.helm("upgrade", RELEASE, tryout.CHART, *where, "--reuse-values", *sets, *wait, timeout=120)
        try:
            yield
        finally:
            self.keep_record()
            self.cluster.helm("rollback", RELEASE, *where, *wait, timeout=120)

    def keep_record(self) -> None:
        """Keeps what was said in the namespaces that no team has."""
        for namespace in (OPERATOR, tryout.EMULATOR):
            self.record.keep_namespace(self.kubectl, namespace)

    def pods(self, role: str) -> list[str]:
        """The names of the controller's or the webhook's pods."""
        found = self.kubectl("get", "pods", "--namespace", OPERATOR, "--selector", selector(role), "--output=name")
        return [name.removeprefix("pod/") for name in found.split()]

    def wait_until_gone(self, role: str) -> None:
        """Returns when no pod of the role is left, not even one that is ending."""
        where = ("--namespace", OPERATOR, "--selector", selector(role))
        self.kubectl("wait", "pod", *where, "--for=delete", "--timeout=60s", timeout=90)

    def wait_until_asked(self, team: Team) -> None:
        """Returns when an annotated pod is injected again: a Service's new address takes kube-proxy a moment."""

        def injected() -> bool:
            done = self.kubectl.process(
                *("run", "probe", "--namespace", team.name, "--image=probe", "--dry-run=server", "--output=name"),
                *("--annotations", f"{apps.ANNOTATION}={apps.MAILER}"),
            )
            return done.returncode == 0 or "failed calling webhook" not in done.stderr

        eventually(injected, "the webhook answers")

    def webhook_requests(self) -> int:
        """How often the API server has asked our webhooks since it started, whatever became of it (its own metric)."""
        lines = self.kubectl("get", "--raw", "/metrics").splitlines()
        counted = [line for line in lines if line.startswith("apiserver_admission_webhook_request_total{")]
        return sum(int(float(line.rpartition(" ")[2])) for line in counted if names.WEBHOOK_NAME in line)

    def active_controller(self) -> str:
        """The pod whose controller holds the Lease."""
        lease = self.kubectl.json("get", "lease", "o365mailer-controller", "--namespace", OPERATOR)
        return str(lease["spec"]["holderIdentity"]).partition("_")[0]

    def metric(self, pod: str, name: str) -> float:
        """One value of a controller's metrics; 0 where it has not been counted yet."""
        path = f"/api/v1/namespaces/{OPERATOR}/pods/{pod}:{names.HEALTH_PORT}/proxy{names.METRICS}"
        lines = self.kubectl("get", "--raw", path).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def selector(role: str) -> str:
    """The pods of one role."""
    return f"app.kubernetes.io/component={role}"


def install(cluster: Cluster, built: dict[str, Path]) -> None:
    """What `make cluster` does up to its example: namespaces, the chart by Helm, the emulator."""
    contents = {name.split("/")[-1].split(":")[0]: archive.stem for name, archive in built.items()}
    cluster.kubectl("apply", "--filename", tryout.EXAMPLES / "namespaces.yaml")
    tryout.install_chart(cluster, contents)
    tryout.install_emulator(cluster, contents)


def remove(cluster: Cluster) -> None:
    """Gives someone's cluster back as it was; our own ends as a whole."""
    if isinstance(cluster, GivenCluster):
        cluster.helm("uninstall", RELEASE, "--namespace", OPERATOR, "--ignore-not-found", "--wait", timeout=120)
        cluster.kubectl("delete", "--filename", tryout.EXAMPLES / "namespaces.yaml", "--ignore-not-found", timeout=180)
        cluster.kubectl("delete", "crd", f"{names.PLURAL}.{names.GROUP}", "--ignore-not-found")
