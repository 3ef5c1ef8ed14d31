"""Restarts, two replicas, kill -9, and an API server that goes away: nothing is minted twice, nothing is forgotten."""

import contextlib
import datetime
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from chart.release import Manifest
from cluster_rig.control_plane import ControlPlane
from support.controller_process import ALLOW_LOOPBACK, ControllerProcess, Namespace
from support.emulator_client import EmulatorClient
from support.rendered_chart import rule
from support.waiting import eventually

from o365mailer_contract.names import grant_command
from o365mailer_contract.quantities import seconds

ROOT = Path(__file__).parents[2]
CRD = ROOT / "crds" / "o365mailers.yaml"
LEASE_DURATION = 5.0
FRESH = {"o365mailer.dev/refresh": "now"}
"""Asks for a token of its own: others are shared by mailers of one application."""
UNHURRIED = ("--lease-duration", "60s")
"""For a test that accepts no warning: an API server that is late on a busy machine does not end such a Lease."""
Start = Callable[..., ControllerProcess]
Account = Callable[[list[Manifest]], Path]


def minted(namespace: Namespace) -> int:
    """Tokens that Entra has issued since the test began."""
    return int(namespace.emulator.counters()["tokensIssued"])


def reconciles(process: ControllerProcess) -> float:
    """Reconciles that the process has made."""
    return process.metric('o365mailer_reconciles_total{result="success"}') or 0.0


def holder(namespace: Namespace) -> str:
    """Who holds the Lease."""
    lease = namespace.find("lease", "o365mailer-controller")
    return str(lease["spec"]["holderIdentity"]).partition("_")[0] if lease else ""


@pytest.mark.promise("restart-mints-nothing")
def test_a_restart_mints_nothing_again(own_namespace: Namespace, start_controller: Start) -> None:
    first = start_controller(name="first")
    first.wait_until_leading()
    for name in ("a", "b", "c"):
        own_namespace.apply_mailer(name, annotations=FRESH)
        own_namespace.await_ready(name)
    before = [own_namespace.files(name) for name in ("a", "b", "c")]
    assert first.stop() == 0
    second = start_controller(name="second")
    # By the third, no attempt of the first controller holds a new one back: there is one in ten seconds at most.
    eventually(lambda: reconciles(second) >= 9, within=40, what="three reconciles of each")
    assert minted(own_namespace) == 3
    assert [own_namespace.files(name) for name in ("a", "b", "c")] == before


@pytest.mark.promise("restart-mints-nothing")
def test_a_restart_does_not_shorten_a_backoff(own_namespace: Namespace, start_controller: Start) -> None:
    own_namespace.emulator.script("token", status=429, retryAfter=1800, times=None)
    first = start_controller(name="first")
    first.wait_until_leading()
    own_namespace.apply_mailer()
    own_namespace.await_condition("EntraThrottled")
    first.kill()
    second = start_controller(name="second")
    eventually(lambda: reconciles(second) >= 3, what="three reconciles")
    assert own_namespace.emulator.counters()["requests"]["token"] == 1


@pytest.mark.promise("one-active-controller")
@pytest.mark.serial
def test_sigterm_hands_the_lease_over_at_once(own_namespace: Namespace, start_controller: Start) -> None:
    first = start_controller("--lease-duration", "60s", name="first")
    first.wait_until_leading()
    second = start_controller("--lease-duration", "10s", name="second")
    eventually(lambda: second.http("/readyz")[0] == 200, what="a standby that is ready")
    assert second.metric("o365mailer_leading") == 0
    eventually(lambda: second.logged("standing by: another replica holds the Lease"))
    assert first.stop() == 0
    began = time.monotonic()
    second.wait_until_leading()
    assert time.monotonic() - began < 5


@pytest.mark.promise("one-active-controller")
@pytest.mark.serial
def test_after_kill_9_the_other_replica_mints_within_the_lease_time_and_nothing_twice(
    own_namespace: Namespace, start_controller: Start
) -> None:
    first = start_controller(name="first")
    first.wait_until_leading()
    second = start_controller(name="second")
    eventually(lambda: second.http("/readyz")[0] == 200)
    for number in range(5):
        own_namespace.apply_mailer(f"before-{number}", annotations=FRESH)
    for number in range(5):
        own_namespace.await_ready(f"before-{number}")
    assert second.logged("leading") is None
    first.kill()
    killed = datetime.datetime.now(datetime.UTC)
    own_namespace.apply_mailer("after")
    own_namespace.await_ready("after")
    assert second.logged("leading") is not None
    # By what the controller wrote: how long kubectl takes on a busy machine is not the controller's.
    lease = own_namespace.find("lease", "o365mailer-controller")
    secret = own_namespace.find("secret", "o365mailer.after")
    for written in (lease["spec"]["acquireTime"], secret["metadata"]["annotations"]["o365mailer.dev/issued-at"]):
        took = (datetime.datetime.fromisoformat(written) - killed).total_seconds()
        assert took < LEASE_DURATION + 3
    eventually(lambda: reconciles(second) >= 12, what="two reconciles of each")
    assert minted(own_namespace) == 6
    assert holder(own_namespace) == "second"


@pytest.mark.promise("one-active-controller")
def test_a_replica_that_was_frozen_past_its_lease_ends_without_touching_anything(
    own_namespace: Namespace, start_controller: Start
) -> None:
    first = start_controller(name="first")
    first.wait_until_leading()
    second = start_controller(name="second")
    first.process.send_signal(signal.SIGSTOP)
    second.wait_until_leading()
    own_namespace.apply_mailer()
    own_namespace.await_ready()
    first.process.send_signal(signal.SIGCONT)
    assert first.ended() == 1
    line = first.logged("lost what it takes to go on")
    assert line is not None
    assert line["error"] == "another replica holds the Lease"
    assert minted(own_namespace) == 1


@pytest.mark.promise("one-active-controller")
@pytest.mark.timeout(240)
def test_the_controller_outlives_an_api_server_that_is_away_for_longer_than_its_lease_but_not_its_crd(
    tmp_path: Path, emulator: EmulatorClient
) -> None:
    values = yaml.safe_load((ROOT / "charts" / "o365mailer" / "values.yaml").read_text())["controller"]
    duration = seconds(values["leaseDuration"])
    arguments = [*ALLOW_LOOPBACK, "--lease-duration", values["leaseDuration"]]
    with ControlPlane(directory=tmp_path / "plane") as plane, contextlib.ExitStack() as processes:
        plane.kubectl("apply", "-f", CRD)
        plane.kubectl("wait", "--for=condition=Established", "crd/o365mailers.o365mailer.dev")
        namespace = Namespace(name="default", kubectl=plane.kubectl, emulator=emulator)
        namespace.credentials()

        def start(name: str) -> ControllerProcess:
            return processes.enter_context(
                ControllerProcess(kubeconfig=plane.kubeconfig, arguments=arguments, name=name)
            )

        active = start("active")
        active.wait_until_leading()
        standby = start("standby")
        eventually(lambda: standby.logged("standing by: another replica holds the Lease"))
        namespace.apply_mailer("before")
        namespace.await_ready("before")
        emulator.script("token", stall=True)
        namespace.apply_mailer("during", annotations=FRESH)
        emulator.events("stalled")
        flags = plane.processes.running["kube-apiserver"].args
        plane.processes.stop("kube-apiserver")
        away_since = time.monotonic()
        eventually(lambda: active.metric("o365mailer_leading") == 0, within=duration, what="the end of the Lease")
        emulator.release()
        eventually(lambda: active.logged("paused: the Lease is not renewed"))
        assert active.http("/readyz") == (503, "paused: the Lease is not renewed\n")
        assert active.http("/livez")[0] == 200
        eventually(lambda: time.monotonic() > away_since + duration + 2, within=2 * duration)
        assert isinstance(flags, list)
        plane.processes.start("kube-apiserver", flags)
        plane.processes.wait("kube-apiserver", plane.api_is_ready, 60)
        eventually(lambda: active.logged("leading again"))
        namespace.apply_mailer("after", annotations=FRESH)
        namespace.await_ready("after", within=60)
        namespace.await_ready("during")
        assert minted(namespace) == 3, "the token that could not be written at once was not kept"
        assert active.process.poll() is None
        assert active.http("/readyz") == (200, "ok\n")
        assert standby.logged("leading") is None
        # A watch of something that is gone for good would see nothing for ever: better to end and be restarted.
        plane.kubectl("delete", "-f", CRD)
        assert active.process.wait(timeout=30) == 1


@pytest.mark.promise("restart-mints-nothing")
def test_what_is_being_minted_at_sigterm_is_still_written(own_namespace: Namespace, start_controller: Start) -> None:
    process = start_controller()
    process.wait_until_leading()
    own_namespace.emulator.script("token", delay=2)
    own_namespace.apply_mailer()
    eventually(lambda: own_namespace.emulator.counters()["requests"].get("token"), what="a token request")
    assert process.stop() == 0
    assert own_namespace.files() is not None
    assert minted(own_namespace) == 1


@pytest.mark.promise("mailers-are-independent")
def test_a_hundred_mailers_are_noticed_at_once(own_namespace: Namespace, start_controller: Start) -> None:
    mailers = [own_namespace.manifest(f"mailer-{number}", suspend=True) for number in range(100)]
    own_namespace.kubectl.apply(*mailers, namespace=own_namespace.name)
    process = start_controller()
    process.wait_until_leading()
    eventually(lambda: process.metric("o365mailer_mailers") == 100, what="noticing them")


@pytest.mark.promise("least-rights")
def test_without_a_choice_of_namespaces_all_are_served(
    cluster: ControlPlane, own_namespace: Namespace, emulator: EmulatorClient, tmp_path: Path
) -> None:
    other = Namespace(name=f"{own_namespace.name}-other", kubectl=cluster.kubectl, emulator=emulator)
    cluster.kubectl("create", "namespace", other.name)
    other.credentials()
    arguments = ["--namespace", own_namespace.name, *ALLOW_LOOPBACK]
    with ControllerProcess(kubeconfig=cluster.kubeconfig, arguments=arguments) as process:
        process.wait_until_leading()
        for namespace in (own_namespace, other):
            namespace.apply_mailer()
        for namespace in (own_namespace, other):
            namespace.await_ready()


@pytest.mark.promise("least-rights")
def test_the_rights_that_the_chart_grants_are_enough(
    own_namespace: Namespace, start_controller: Start, rights: list[Manifest], account: Account
) -> None:
    process = start_controller(*UNHURRIED, kubeconfig=account(rights))
    process.wait_until_leading()
    own_namespace.apply_mailer()
    own_namespace.await_ready()
    own_namespace.apply_mailer(suspend=True)
    own_namespace.await_condition("Suspended")
    own_namespace.apply_mailer(suspend=False)
    eventually(lambda: len(own_namespace.events()) >= 3, what="Events")
    eventually(lambda: process.http("/readyz")[0] == 200, what="agreement of watch and list")
    assert process.stop() == 0
    assert holder(own_namespace) == ""
    assert [line for line in process.lines() if line["level"] != "info"] == []


@pytest.mark.promise("least-rights")
def test_a_secret_that_may_not_be_read_is_reported(
    own_namespace: Namespace, start_controller: Start, rights: list[Manifest], account: Account
) -> None:
    rule(rights, "secrets", "get")["resourceNames"] = ["o365mailer.noreply", "emulator-ca"]
    start_controller(kubeconfig=account(rights)).wait_until_leading()
    own_namespace.apply_mailer()
    ready = own_namespace.await_condition("SecretUnreadable")
    assert "may not read the Secret entra" in ready["message"]
    assert ready["message"].endswith(grant_command(namespace=own_namespace.name, operator=own_namespace.name))


@pytest.mark.promise("least-rights")
def test_a_config_map_that_may_not_be_read_is_reported_and_used_once_it_may(
    own_namespace: Namespace, start_controller: Start, rights: list[Manifest], account: Account
) -> None:
    reads = rule(rights, "configmaps", "get")
    reads["resourceNames"] = ["another"]
    start_controller(kubeconfig=account(rights)).wait_until_leading()
    authority = Path(own_namespace.emulator.ca_file).read_text()
    own_namespace.config_map("company-ca", {"ca.crt": authority})
    host = {"host": own_namespace.emulator.smtp_host, "port": own_namespace.emulator.smtp_port}
    own_namespace.apply_mailer(submission={**host, "ca": {"configMapRef": {"name": "company-ca"}}})
    ready = own_namespace.await_condition("ConfigMapUnreadable")
    assert "may not read the ConfigMap company-ca in this namespace" in ready["message"]
    assert ready["message"].endswith(grant_command(namespace=own_namespace.name, operator=own_namespace.name))
    assert own_namespace.emulator.counters()["tokensIssued"] == 0

    del reads["resourceNames"]
    own_namespace.kubectl.apply(*rights)
    own_namespace.await_ready(within=60)
    assert (own_namespace.files() or {})["ca.crt"] == authority.encode()


@pytest.mark.promise("least-rights")
def test_a_token_secret_that_may_not_be_read_or_written_is_reported(
    own_namespace: Namespace, start_controller: Start, rights: list[Manifest], account: Account
) -> None:
    command = grant_command(namespace=own_namespace.name, operator=own_namespace.name)
    reads = rule(rights, "secrets", "get")
    reads["verbs"] = ["get"]
    rule(rights, "secrets", "create")["resources"] = [
        "configmaps"
    ]  # for the webhook's authority, in the same namespace
    kubeconfig = account(rights)
    start_controller(kubeconfig=kubeconfig).wait_until_leading()
    own_namespace.apply_mailer()
    message = own_namespace.await_condition("SecretWriteRefused")["message"]
    assert 'cannot create resource "secrets"' in message
    assert message.endswith(command)

    reads["resourceNames"] = ["entra", "emulator-ca"]
    own_namespace.kubectl.apply(*rights)
    message = own_namespace.await_condition("SecretUnreadable")["message"]
    assert "may not read the Secret o365mailer.noreply" in message
    assert message.endswith(command)


@pytest.mark.promise("token-requests-retried")
def test_a_failure_that_cannot_be_written_down_is_waited_out_all_the_same(
    own_namespace: Namespace, start_controller: Start, rights: list[Manifest], account: Account
) -> None:
    rule(rights, "o365mailers/status", "patch")["verbs"] = ["get"]
    process = start_controller(kubeconfig=account(rights))
    process.wait_until_leading()
    own_namespace.emulator.script("token", aadsts=7000222, times=None)
    own_namespace.apply_mailer()
    other = own_namespace.manifest("waits", credential={"certificate": {"secretRef": {"name": "nowhere"}}})
    own_namespace.kubectl.apply(other, namespace=own_namespace.name)

    def looked(mailer: str) -> int:
        refused = [line for line in process.lines() if line["message"] == "the status is refused"]
        return sum(line["mailer"].endswith(f"/{mailer}") for line in refused)

    eventually(lambda: looked("waits") >= 8, what="looks at the mailer that has no Secret")  # half a second apart
    assert looked("noreply") == process.metric('o365mailer_token_requests_total{reason="AADSTS7000222"}') == 1
