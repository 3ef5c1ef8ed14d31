"""What the controller asks the API server for, and that an old answer does no harm. Counts, not times."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_rig.control_plane import ControlPlane
from support.api_front import ApiFront, Request
from support.controller_process import ControllerProcess, Namespace
from support.waiting import eventually

from o365mailer_operator.controller.lease import LEASE_NAME
from o365mailer_operator.controller.queue import WORKERS

pytestmark = pytest.mark.timeout(180)

Start = Callable[..., ControllerProcess]
CROWD = 60
"""Mailers of one namespace: several times the reconciles that run at once."""
MISSING = {"clientSecret": {"secretRefs": [{"name": "late", "key": "secret"}]}}


@pytest.fixture
def front(cluster: ControlPlane, tmp_path: Path) -> Iterator[ApiFront]:
    """The API server, with every request counted."""
    with ApiFront(cluster.kubeconfig, tmp_path) as front:
        yield front


def looks(process: ControllerProcess) -> float:
    """Looks that have ended well."""
    return process.metric('o365mailer_reconciles_total{result="success"}') or 0.0


def await_looks(process: ControllerProcess, count: int) -> None:
    """Returns after so many more looks."""
    goal = looks(process) + count
    eventually(lambda: looks(process) >= goal, within=60, what=f"{count} looks")


def reads(front: ApiFront, name: str) -> list[Request]:
    """The requests for one object."""
    return [request for request in front.requests if request.method == "GET" and request.path.endswith(f"/{name}")]


def minted(namespace: Namespace) -> int:
    """Tokens that Entra has issued since the test began."""
    return int(namespace.emulator.counters()["tokensIssued"])


@pytest.mark.promise("watch-is-checked")
def test_a_look_reads_each_token_secret_once_shared_secrets_seldom_and_no_mailer(
    own_namespace: Namespace, start_controller: Start, front: ApiFront
) -> None:
    process = start_controller(kubeconfig=front.kubeconfig)
    mailers = [f"mailer-{number}" for number in range(6)]
    for name in mailers:
        own_namespace.apply_mailer(name)
    for name in mailers:
        own_namespace.await_ready(name)
    await_looks(process, len(mailers))
    front.requests.clear()
    before = looks(process)
    await_looks(process, 5 * len(mailers))
    seen, done = list(front.requests), looks(process) - before
    of_mailers = [request for request in seen if request.path.rpartition("/")[2] in mailers]
    assert of_mailers == [], "the watch has delivered them"
    secrets = [request for request in seen if "/secrets/" in request.path]
    own = [request for request in secrets if "/o365mailer." in request.path]
    assert done - len(mailers) <= len(own) <= done + len(mailers), "one read of the token Secret a look"
    assert all(request.cached for request in secrets)
    shared = [request for request in secrets if request not in own]
    assert {request.path.rpartition("/")[2] for request in shared} == {"entra", "emulator-ca"}
    assert len(shared) < done, "two Secrets that six mailers name: less than one read for two looks"
    assert not [request for request in seen if request.method in ("POST", "PATCH")], "nothing is written"


@pytest.mark.promise("ready-after-its-secret")
def test_a_missing_secret_is_asked_for_at_every_look(
    own_namespace: Namespace, start_controller: Start, front: ApiFront
) -> None:
    process = start_controller(kubeconfig=front.kubeconfig)
    for name in ("one", "other"):
        own_namespace.apply_mailer(name, credential=MISSING)
        own_namespace.await_condition("SecretNotFound", mailer=name)
    await_looks(process, 4)
    front.requests.clear()
    before = looks(process)
    await_looks(process, 8)
    asked, done = len(reads(front, "late")), looks(process) - before
    assert done - 2 <= asked <= done + 2


@pytest.mark.promise("watch-is-checked")
def test_a_watch_cache_that_lags_causes_no_second_token_and_no_second_write(
    own_namespace: Namespace, start_controller: Start, front: ApiFront
) -> None:
    process = start_controller("--reconcile-interval", "3s", kubeconfig=front.kubeconfig, name="first")
    own_namespace.apply_mailer()
    own_namespace.await_ready()
    await_looks(process, 2)
    with front.lag("secrets"):
        own_namespace.apply_mailer(annotations={"o365mailer.dev/refresh": "now"})
        # Entra counts a token before it is in the Secret; settings that change in between go with it in one write.
        eventually(lambda: own_namespace.settings()["revision"] == 2, what="a second token")
        own_namespace.apply_mailer(annotations={"o365mailer.dev/refresh": "now"}, logLevel="debug")
        eventually(lambda: own_namespace.settings()["revision"] == 3, what="the changed settings")
        goal = front.old_answers + 5  # not so many looks: one of them may have read before the Secret changed
        eventually(lambda: front.old_answers >= goal, within=60, what="looks that saw the Secret of before")
        await_looks(process, 1)
        assert (minted(own_namespace), own_namespace.settings()["revision"]) == (2, 3)
        assert process.stop() == 0
        front.requests.clear()
        second = start_controller("--reconcile-interval", "3s", kubeconfig=front.kubeconfig, name="second")
        eventually(lambda: looks(second) >= 1)
        for name in ("entra", "o365mailer.noreply", "noreply"):
            assert not reads(front, name)[0].cached, "the first look reads from etcd"
        await_looks(second, 3)
        assert (minted(own_namespace), own_namespace.settings()["revision"]) == (2, 3)


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_a_conflict_between_the_secret_and_the_status_loses_nothing_that_is_told_of_the_token(
    own_namespace: Namespace, start_controller: Start, front: ApiFront
) -> None:
    status_writes = 0
    in_between: list[object] = []

    def write_before_the_first_status(request: Request) -> None:
        nonlocal status_writes
        if (request.method, request.path.rpartition("/")[2]) == ("PATCH", "status"):
            status_writes += 1
            if status_writes == 1:
                # An assertion that fails here, in a thread of the front, would fail no test.
                in_between.append(own_namespace.files())
                in_between.append(own_namespace.kubectl("label", "o365mailer", "noreply", "team=shop", *where))

    where = ("-n", own_namespace.name)
    front.meanwhile = write_before_the_first_status
    start_controller(kubeconfig=front.kubeconfig)
    application = f"/applications/{own_namespace.emulator.client_id}"
    own_namespace.emulator.control("PATCH", application, {"roles": ["SMTP.SendAsApp", "Mail.Send"]})
    own_namespace.apply_mailer()
    own_namespace.await_ready()
    assert len(in_between) == 2
    assert all(in_between), "the Secret is written first, then the label"
    assert status_writes >= 2, "the API server refused the first"
    assert minted(own_namespace) == 1
    issued = own_namespace.condition("TokenIssued")
    assert issued
    assert issued["message"].startswith("Obtained with the Secret entra/secret. The token has more rights")

    def notes() -> dict[str, str] | None:
        found = {event["reason"]: event["note"] for event in own_namespace.events()}
        return found if {"TokenIssued", "ExcessRoles"} <= found.keys() else None

    assert eventually(notes)["TokenIssued"] == issued["message"]


@pytest.mark.promise("watch-is-checked")
def test_a_watch_that_never_begins_is_told_and_its_mailers_are_served_all_the_same(
    own_namespace: Namespace, start_controller: Start, front: ApiFront
) -> None:
    agreed = "o365mailer_watch_agreed_timestamp_seconds"
    own_namespace.apply_mailer()
    with front.silence():
        process = start_controller(kubeconfig=front.kubeconfig)
        process.wait_until_leading()
        own_namespace.await_ready(within=60)
        assert process.http("/readyz") == (503, "the watch has not delivered what the API server lists\n")
        assert process.metric(agreed) == 0
        line = process.logged("the watch does not deliver what the API server lists")
        assert line is not None
        assert line["mailers"] == 1
    eventually(lambda: process.http("/readyz")[0] == 200, within=60, what="readiness")
    assert process.metric(agreed)


@pytest.mark.promise("neighbours-are-safe")
def test_many_mailers_that_are_due_let_the_one_of_another_namespace_go_first(
    own_namespace: Namespace, start_controller: Start, front: ApiFront
) -> None:
    crowd = Namespace(f"{own_namespace.name}-crowd", own_namespace.kubectl, own_namespace.emulator)
    crowd.kubectl("create", "namespace", crowd.name)
    crowd.kubectl.apply(
        *(crowd.manifest(f"m-{number}", credential=MISSING) for number in range(CROWD)), namespace=crowd.name
    )
    answered = threading.Event()

    def is_look(request: Request, namespace: Namespace) -> bool:
        return request.method == "GET" and f"/namespaces/{namespace.name}/o365mailers/" in request.path

    def keep_the_crowd_waiting(request: Request) -> None:
        if is_look(request, crowd):
            answered.wait(120)

    front.meanwhile = keep_the_crowd_waiting
    try:
        process = start_controller("--watch-namespace", crowd.name, kubeconfig=front.kubeconfig)
        eventually(lambda: process.metric("o365mailer_mailers") == CROWD, within=60, what="the crowd is known")
        eventually(lambda: sum(is_look(each, crowd) for each in front.requests) == WORKERS, what="no worker is free")
        own_namespace.apply_mailer()
        eventually(lambda: process.metric("o365mailer_mailers") == CROWD + 1, within=60, what="all are known")
        begin = len(front.requests)
    finally:
        answered.set()
    own_namespace.await_ready(within=60)
    seen = list(front.requests)
    turn = next(number for number, request in enumerate(seen) if is_look(request, own_namespace))
    ahead = [request for request in seen[begin:turn] if is_look(request, crowd)]
    assert turn >= begin
    assert len(ahead) < 10, "the crowd's mailers that were waiting are looked at after it"
    eventually(
        lambda: len([each for each in front.requests[turn:] if is_look(each, crowd)]) > CROWD / 2,
        within=60,
        what="the crowd's turn, which was waiting all the time",
    )


@pytest.mark.promise("one-active-controller")
def test_a_renewal_is_one_write_and_another_clients_write_in_between_costs_one_read(
    own_namespace: Namespace, start_controller: Start, front: ApiFront
) -> None:
    def of_the_lease(method: str) -> int:
        asked = [request for request in front.requests if request.path.endswith(f"/leases/{LEASE_NAME}")]
        return sum(request.method == method for request in asked)

    # A write that is not answered within a third of the duration is followed by a read, also on a busy machine.
    process = start_controller("--lease-duration", "20s", kubeconfig=front.kubeconfig)
    process.wait_until_leading()
    front.requests.clear()
    eventually(lambda: of_the_lease("PUT") >= 3, what="renewals")
    assert of_the_lease("GET") == 0
    own_namespace.kubectl("annotate", "lease", LEASE_NAME, "note=seen", "-n", own_namespace.name)
    before = of_the_lease("PUT")
    eventually(lambda: of_the_lease("PUT") > before + 11, within=90, what="renewals for longer than the Lease lasts")
    assert of_the_lease("GET") == 1
    assert process.metric("o365mailer_leading") == 1
    assert not process.logged("paused: the Lease is not renewed")
