"""The nine verbs against a real API server: what they give, and which error each refusal becomes."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from cluster_rig.control_plane import ControlPlane
from support.controller_process import Namespace

from o365mailer_operator.controller import cluster as adapter
from o365mailer_operator.controller.cluster import MAILERS, SECRETS, Cluster, connect
from o365mailer_operator.controller.cluster_errors import Absent, Conflict, Forbidden, Refused, Unavailable
from o365mailer_operator.controller.mailer import Manifest


@pytest_asyncio.fixture
async def api(cluster: ControlPlane) -> AsyncIterator[Cluster]:
    """The adapter, as the administrator."""
    async with await connect({"KUBECONFIG": str(cluster.kubeconfig)}) as connected:
        yield connected


@pytest.fixture
def silent_server() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield int(listening.getsockname()[1])


def secret(name: str, **data: str) -> Manifest:
    """A Secret without content that matters."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def kubeconfig_of(port: int, path: Path) -> str:
    """A kubeconfig of a server in clear text."""
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    cluster = {"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    user: dict[str, object] = {"name": "x", "user": {}}
    document = {"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "x"}
    path.write_text(json.dumps(document))
    return str(path)


async def test_what_is_created_is_got_and_what_is_not_there_is_absent(api: Cluster, own_namespace: Namespace) -> None:
    await api.create(SECRETS, secret("a", key="x"), namespace=own_namespace.name)
    found = await api.get(SECRETS, name="a", namespace=own_namespace.name)
    assert found["data"] == {"key": "eA=="}
    assert await api.find(SECRETS, name="b", namespace=own_namespace.name) is None
    with pytest.raises(Absent, match=r"GET .*/secrets/b: 404 .*not found"):
        await api.get(SECRETS, name="b", namespace=own_namespace.name)


async def test_a_second_creation_and_a_stale_write_are_conflicts(api: Cluster, own_namespace: Namespace) -> None:
    first = await api.create(SECRETS, secret("a"), namespace=own_namespace.name)
    with pytest.raises(Conflict, match="already exists"):
        await api.create(SECRETS, secret("a"), namespace=own_namespace.name)
    await api.replace(SECRETS, first | {"data": {"key": "eA=="}}, namespace=own_namespace.name)
    with pytest.raises(Conflict, match="has been modified"):
        await api.replace(SECRETS, first | {"data": {"key": "eQ=="}}, namespace=own_namespace.name)
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"key": "eg=="}}
    with pytest.raises(Conflict):
        await api.patch(SECRETS, stale, name="a", namespace=own_namespace.name)


async def test_what_the_api_server_does_not_take_is_refused_in_its_own_words(
    api: Cluster, own_namespace: Namespace
) -> None:
    with pytest.raises(Refused, match=r"422 .*Invalid value"):
        await api.create(SECRETS, secret("Not A Name"), namespace=own_namespace.name)


async def test_what_may_not_be_done_is_forbidden(
    cluster: ControlPlane, own_namespace: Namespace, tmp_path: Path
) -> None:
    token = cluster.kubectl("create", "token", "default", "-n", own_namespace.name).strip()
    document = cluster.kubectl.json("config", "view", "--raw", "--minify")
    document["users"][0]["user"] = {"token": token}
    path = tmp_path / "account.kubeconfig"
    path.write_text(json.dumps(document))
    async with await connect({"KUBECONFIG": str(path)}) as api:
        with pytest.raises(Forbidden, match="403"):
            await api.get(SECRETS, name="a", namespace=own_namespace.name)
        login = await api.login()
        assert login.token == token
        assert token not in repr(login)


async def test_the_metadata_of_all_is_listed_page_by_page(
    api: Cluster, own_namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = own_namespace.name
    assert [each async for each in api.list_metadata(MAILERS, namespace=space)] == []
    for name in ("a", "b", "c"):
        own_namespace.apply_mailer(name, suspend=True)
    written = [await api.get(MAILERS, name=name, namespace=space) for name in ("a", "b", "c")]
    for size in (2, 3):
        monkeypatch.setattr(adapter, "PAGE", size)
        listed = [each async for each in api.list_metadata(MAILERS, namespace=space)]
        assert [each["uid"] for each in listed] == [each["metadata"]["uid"] for each in written]


async def test_an_object_is_found_in_the_cache(api: Cluster, own_namespace: Namespace) -> None:
    own_namespace.apply_mailer("a", suspend=True)
    written = await api.get(MAILERS, name="a", namespace=own_namespace.name)
    async with asyncio.timeout(20):
        while (cached := await api.find(MAILERS, name="a", namespace=own_namespace.name, cached=True)) is None:
            continue
    assert cached["spec"] == written["spec"]
    assert await api.find(SECRETS, name="b", namespace=own_namespace.name, cached=True) is None


async def test_a_kind_that_is_not_served_is_absent(api: Cluster) -> None:
    assert await api.count(MAILERS) in (0, 1)
    with pytest.raises(Absent):
        await api.count(adapter.Resource("/apis/o365mailer.dev/v1", "o365mailers"))


async def test_a_watch_tells_what_is_there_what_changes_and_what_goes(api: Cluster, own_namespace: Namespace) -> None:
    seen: asyncio.Queue[Manifest | None] = asyncio.Queue()

    async def follow() -> None:
        async for found in api.watch(SECRETS, name="a", namespace=own_namespace.name):
            seen.put_nowait(found)

    following = asyncio.create_task(follow())
    async with asyncio.timeout(20):
        assert await seen.get() is None
        await api.create(SECRETS, secret("other"), namespace=own_namespace.name)
        made = await api.create(SECRETS, secret("a"), namespace=own_namespace.name)
        created = await seen.get()
        assert created is not None
        assert created["metadata"]["name"] == "a"
        await api.replace(SECRETS, made | {"data": {"key": "eA=="}}, namespace=own_namespace.name)
        changed = await seen.get()
        assert changed is not None
        assert changed["data"] == {"key": "eA=="}
        own_namespace.kubectl("delete", "secret", "a", "-n", own_namespace.name)
        assert await seen.get() is None
    following.cancel()


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with await connect({"KUBECONFIG": kubeconfig_of(port, tmp_path / "k")}) as api:
        with pytest.raises(Unavailable, match="ClientConnector"):
            await api.get(SECRETS, name="a", namespace="b")


async def test_a_server_that_does_not_answer_is_unavailable_in_time(
    silent_server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "REQUEST_TIMEOUT", 0.5)
    async with await connect({"KUBECONFIG": kubeconfig_of(silent_server, tmp_path / "k")}) as api:
        with pytest.raises(Unavailable, match=r"no answer within 0\.5 s"):
            await api.get(SECRETS, name="a", namespace="b")
        with pytest.raises(Unavailable, match=r"no answer within 0\.5 s"):
            await anext(aiter(api.watch(SECRETS, name="a", namespace="b")))
