"""What belongs to another namespace, or to no one on the list, cannot be borrowed by naming it."""

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Iterator

import pytest
from support.waiting import eventually

from hostile.scene import Scene
from hostile.user import MAILERS, SECRETS, secret
from o365mailer_contract import names

pytestmark = [pytest.mark.promise("neighbours-are-safe"), pytest.mark.timeout(240)]
ACCOUNTS = "/api/v1/namespaces/{}/serviceaccounts"
WORKLOAD_IDENTITY = {"workloadIdentity": {"serviceAccountRef": {"name": "mail"}}}


@pytest.fixture(autouse=True)
def cleared(scene: Scene) -> Iterator[None]:
    """Good credentials for the hostile user's own application, and no mailer."""
    scene.hostile.clear()
    scene.hostile.credentials()
    yield
    scene.hostile.clear()


def test_a_granted_service_account_is_not_granted_by_its_name(scene: Scene) -> None:
    """The chart's value lists the ServiceAccount `mail` of the neighbour's namespace."""
    hostile, neighbour = scene.hostile, scene.neighbour
    annotations = {names.WORKLOAD_IDENTITY_ANNOTATION: scene.emulator.client_id}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "mail", "annotations": annotations}}
    hostile.user.create(hostile.path(ACCOUNTS), account)
    hostile.user.create(hostile.path(MAILERS), hostile.mailer("borrowed", credential=WORKLOAD_IDENTITY))
    eventually(lambda: hostile.has_reason("borrowed", "ServiceAccountUnreadable"), "the refusal", within=60)

    neighbour.user.create(neighbour.path(ACCOUNTS), {**account, "metadata": {"name": "mail"}})
    neighbour.user.create(neighbour.path(MAILERS), neighbour.mailer("identity", credential=WORKLOAD_IDENTITY))
    eventually(lambda: neighbour.has_reason("identity", "ServiceAccountNotOptedIn"), "it is read", within=60)
    neighbour.user.request("DELETE", neighbour.path(MAILERS, "identity"))
    neighbour.user.request("DELETE", neighbour.path(ACCOUNTS, "mail"))
    hostile.user.request("DELETE", hostile.path(ACCOUNTS, "mail"))


def test_a_token_is_not_shared_with_who_names_the_application_alone(scene: Scene) -> None:
    """The neighbour's token is a few seconds old, and would be shared with an equal credential."""
    hostile, neighbour = scene.hostile, scene.neighbour
    neighbour.works()
    credential = {"clientSecret": {"secretRefs": [{"name": "wrong", "key": "secret"}]}}
    hostile.user.create(hostile.path(SECRETS), secret("wrong", {"secret": b"wrong"}))
    hostile.user.create(hostile.path(MAILERS), hostile.mailer("named", credential=credential), hostile.mailer("equal"))
    eventually(lambda: hostile.has_reason("named", "AADSTS7000215"), "Entra's refusal", within=60)
    eventually(lambda: hostile.has_reason("equal", "TokenValid"), "a token for the right secret", within=60)
    assert hostile.find(SECRETS, "o365mailer.named") is None


@pytest.fixture
def listener() -> Iterator[tuple[int, list[int]]]:
    """A port that takes connections and closes them, and how many it has taken."""
    taken: list[int] = []

    def accept(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                listening.accept()[0].close()
                taken.append(1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1], taken


def test_no_login_is_tried_at_a_host_that_only_a_token_secret_names(
    scene: Scene, listener: tuple[int, list[int]]
) -> None:
    """A user who may edit Secrets may write another submission host next to the token."""
    port, taken = listener
    hostile = scene.hostile
    hostile.user.create(hostile.path(MAILERS), hostile.mailer("forged"))
    eventually(lambda: hostile.has_reason("forged", "TokenValid"), "the mailer is Ready", within=60)
    held = hostile.find(SECRETS, "o365mailer.forged")
    assert held is not None
    document = json.loads(base64.b64decode(held["data"]["mailer.json"]))
    changed = document | {"submission": document["submission"] | {"port": port}}

    def written() -> int:
        found = hostile.find(SECRETS, "o365mailer.forged")
        assert found is not None
        return int(json.loads(base64.b64decode(found["data"]["mailer.json"]))["submission"]["port"])

    for number in range(3):
        change = {"stringData": {"mailer.json": json.dumps(changed)}}
        assert hostile.user.change(hostile.path(SECRETS, "o365mailer.forged"), change)[0] == 200
        mailer = {"metadata": {"annotations": {names.REFRESH_ANNOTATION: str(number)}}}
        assert hostile.user.change(hostile.path(MAILERS, "forged"), mailer)[0] == 200
        eventually(lambda: written() != port, "the Secret is repaired", within=60)
    assert taken == []

    spec = {"submission": {"host": "127.0.0.1", "port": port, "ca": {"secretRef": {"name": "emulator-ca"}}}}
    hostile.user.create(hostile.path(MAILERS), hostile.mailer("named", **spec))
    eventually(lambda: taken, "a login where the spec names it", within=60)
