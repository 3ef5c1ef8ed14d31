"""What makes the attacks mean something: the hostile user is one, and a neighbour that is harmed is noticed."""

import signal
from collections.abc import Iterator

import pytest

from hostile.scene import Scene
from hostile.user import MAILERS, SECRETS

pytestmark = pytest.mark.timeout(240)  # the first test starts everything


@pytest.mark.promise("neighbours-are-safe")
def test_the_hostile_user_edits_one_namespace_and_nothing_else(scene: Scene) -> None:
    user, own, other = scene.hostile.user, scene.hostile, scene.neighbour
    for collection in (SECRETS, MAILERS):
        assert user.request("GET", own.path(collection))[0] == 200
        assert user.request("GET", other.path(collection))[0] == 403
        assert user.request("DELETE", other.path(collection, "noreply"))[0] == 403
    assert user.change(own.path(MAILERS, "noreply", "status"), {"status": {}})[0] == 403


def test_a_neighbour_without_attack_works(scene: Scene) -> None:
    scene.neighbour.works()
    scene.unharmed()


@pytest.fixture(params=["controller", "webhook"])
def stopped(scene: Scene, request: pytest.FixtureRequest) -> Iterator[None]:
    process = getattr(scene, request.param).process
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)


def test_a_process_that_stands_still_is_noticed(scene: Scene, stopped: None) -> None:
    with pytest.raises(AssertionError):
        scene.neighbour.works(within=4)
