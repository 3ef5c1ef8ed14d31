"""What a hostile user does again and again: while it goes on, the neighbour is served as before."""

import contextlib
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from support.waiting import eventually

from hostile.scene import Scene, Tenancy
from hostile.user import MAILERS, SECRETS, Manifest, secret

pytestmark = [pytest.mark.promise("neighbours-are-safe"), pytest.mark.timeout(300)]

MANY = 60
"""Mailers that one user makes; the API server takes thousands, and a test has less time."""
ROUNDS = 10
"""The least repetitions that count as an attack."""
WRONG = [f"wrong-{number}" for number in range(10)]
"""Secrets with different values. Equal ones would share one token request."""


@pytest.fixture(scope="module")
def prepared(scene: Scene) -> Scene:
    """The hostile user's Secrets. Their mailers name the neighbour's application, which is no secret."""
    hostile = scene.hostile
    hostile.clear()
    hostile.credentials(value="wrong")
    hostile.user.create(hostile.path(SECRETS), *(secret(name, {"secret": name.encode()}) for name in WRONG))
    return scene


def wrong(number: int) -> Manifest:
    """A credential that Entra refuses."""
    return {"clientSecret": {"secretRefs": [{"name": WRONG[number % len(WRONG)], "key": "secret"}]}}


def refresh(number: int) -> Manifest:
    """A request for a fresh token, never the same."""
    return {"metadata": {"annotations": {"o365mailer.dev/refresh": f"{number}-{uuid.uuid4()}"}}}


@dataclass(frozen=True)
class Attack:
    """Mailers to begin with, and what is repeated."""

    step: Callable[[Tenancy, int], object]
    mailers: int = 1
    threads: int = 2


def patch_mailer(of: Callable[[int], Manifest], *, mailers: int = 1) -> Callable[[Tenancy, int], object]:
    """Changes one of the mailers."""

    def step(hostile: Tenancy, number: int) -> object:
        status, document = hostile.user.change(hostile.path(MAILERS, f"m-{number % mailers}"), of(number))
        assert status in (200, 409), document
        return status

    return step


def patch_secret(name: str, of: Callable[[int], Manifest]) -> Callable[[Tenancy, int], object]:
    """Changes a Secret, if it is there."""

    def step(hostile: Tenancy, number: int) -> object:
        status, document = hostile.user.change(hostile.path(SECRETS, name), of(number))
        assert status in (200, 404, 409), document
        return status

    return step


def make_and_delete(hostile: Tenancy, number: int) -> None:
    """A mailer that lives for a moment."""
    name = f"short-{number}"
    hostile.user.create(hostile.path(MAILERS), hostile.mailer(name, credential=wrong(number)))
    assert hostile.user.request("DELETE", hostile.path(MAILERS, name))[0] == 200


def padded_pod(hostile: Tenancy, number: int) -> None:
    """A pod of more than a megabyte. It is valid, and not stored."""
    pod = hostile.pod()
    pod["spec"]["containers"][0]["args"] = ["x" * 1_300_000]
    status, document = hostile.admit(pod)
    assert status in (201, 429, 500), document


def pod_of_many_annotations(hostile: Tenancy, number: int) -> None:
    """A pod with as many unknown annotations as fit. Each would be a warning."""
    pod = hostile.pod(**{f"o365mailer.dev/{key:x}": "" for key in range(2_000)})
    status, document = hostile.admit(pod)
    assert status in (201, 429, 500), document  # 500: the webhook closed a request that took too long


def pod_of_long_names(hostile: Tenancy, number: int) -> None:
    """Names that the API server checks only after the webhook, with a line break."""
    pod = hostile.pod()
    del pod["metadata"]["name"]
    pod["metadata"]["generateName"] = "x" * 200_000 + '\n{"level": "error"}'
    pod["spec"]["containers"].append({"name": "y" * 200_000, "image": "app"})
    status, document = hostile.admit(pod)
    assert status in (400, 422, 429, 500), document


ATTACKS = {
    "a mailer that changes": Attack(patch_mailer(lambda number: {"spec": {"logAddresses": bool(number % 2)}})),
    "a mailer that breaks and heals": Attack(
        patch_mailer(lambda number: {"spec": {"suspend": bool(number % 2)}, "metadata": {"labels": {"n": str(number)}}})
    ),
    "refresh requests for the neighbour's application": Attack(
        patch_mailer(refresh, mailers=MANY), mailers=MANY, threads=4
    ),
    "a credential that changes": Attack(
        patch_secret("wrong-0", lambda number: {"stringData": {"secret": f"wrong {number}"}})
    ),
    "a token Secret that changes": Attack(
        patch_secret(
            "o365mailer.m-0", lambda number: {"stringData": {"mailer.json": "{", "access_token": f"x\n{number}"}}
        )
    ),
    "mailers that come and go": Attack(make_and_delete, mailers=0),
    "large pods": Attack(padded_pod, mailers=0, threads=4),
    "pods of many annotations": Attack(pod_of_many_annotations, mailers=0, threads=4),
    "pods of long names": Attack(pod_of_long_names, mailers=0, threads=4),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=[name.replace(" ", "-") for name in ATTACKS])
def test_the_neighbour_notices_nothing(prepared: Scene, attack: Attack) -> None:
    hostile = prepared.hostile
    with (
        mailers(hostile, attack.mailers),
        prepared.looped(lambda number: attack.step(hostile, number), threads=attack.threads) as rounds,
    ):
        prepared.neighbour.works()
        eventually(lambda: sum(rounds) >= ROUNDS, "the attack goes on")
    prepared.unharmed()


@contextlib.contextmanager
def mailers(hostile: Tenancy, count: int, **spec: object) -> Iterator[None]:
    """Mailers `m-0`, `m-1`, …, as long as the context lasts."""

    def make(number: int) -> None:
        hostile.user.create(
            hostile.path(MAILERS), hostile.mailer(f"m-{number}", **{"credential": wrong(number), **spec})
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(count)))
    try:
        yield
    finally:
        hostile.user.request("DELETE", hostile.path(MAILERS))


@pytest.fixture
def silent_host() -> Iterator[tuple[str, list[int]]]:
    """An authority that accepts connections and says nothing, and how many it has accepted."""
    accepted: list[int] = []
    kept: list[socket.socket] = []

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                kept.append(listener.accept()[0])
                accepted.append(1)

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", accepted
    for connection in kept:
        connection.close()


def test_an_allowed_host_that_hangs_delays_its_own_mailers(prepared: Scene, silent_host: tuple[str, list[int]]) -> None:
    """Its tenants are all different, so no bound of a tenant helps."""
    url, accepted = silent_host
    hostile = prepared.hostile
    with contextlib.ExitStack() as stack:
        for number in range(5):
            spec = {"authority": {"url": url}, "tenantId": f"t{number}.example", "credential": wrong(number)}
            hostile.user.create(
                hostile.path(MAILERS), *(hostile.mailer(f"h-{number}-{each}", **spec) for each in range(10))
            )
        stack.callback(hostile.user.request, "DELETE", hostile.path(MAILERS))
        eventually(lambda: accepted, "the hanging host is asked")
        prepared.neighbour.works()
        assert len(accepted) < 50
    prepared.unharmed()
