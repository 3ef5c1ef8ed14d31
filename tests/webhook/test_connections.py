"""Connections that keep the webhook waiting: any pod can open them, and none may stop a pod from being admitted."""

import asyncio
import contextlib
import re
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from support.waiting import eventually
from webhook.authorities import DAY, now, secret, write_plain
from webhook.examples import pod
from webhook.process import WebhookProcess
from webhook.test_server import Client, review

from o365mailer_operator.connections import COST, MEMORY, Connections, Why, bind, serving
from o365mailer_operator.pki.leaf_keeper import LeafKeeper
from o365mailer_operator.webhook.server import BODY_LIMIT

VALUES = Path(__file__).parents[2] / "charts" / "o365mailer" / "values.yaml"
FIELDS = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 8000) for number in range(31))
POST = b"POST /pods HTTP/1.1\r\nHost: webhook\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n" % BODY_LIMIT

HANGING: dict[str, bytes] = {
    "nothing": b"",
    "half a header": POST,
    "a header as large as it may be": POST + FIELDS,
    "a body that never ends": POST + LENGTH + bytes(BODY_LIMIT - 1),
    "half a body": POST + LENGTH + bytes(60_000),
    "chunks without an end": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + bytes(65536) + b"\r\n",
    "a request and half of the next": b"GET /x HTTP/1.1\r\nHost: webhook\r\n\r\n" + POST + FIELDS,
    "requests without reading": b"GET /x HTTP/1.1\r\nHost: webhook\r\n\r\n" * 1000,
}  # fmt: skip
"""What a client sends before it falls silent."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca")
    write_plain(path, secret())
    return path


# --- The process ------------------------------------------------------------------------------------------------------


@pytest.fixture
def webhook(directory: Path) -> Iterator[WebhookProcess]:
    with WebhookProcess(directory) as process:
        process.wait_ready()
        yield process


def hang(stack: contextlib.ExitStack, port: int, sent: bytes, context: ssl.SSLContext | None) -> None:
    """A connection on which this is sent, and then nothing; it is open for as long as the webhook leaves it open."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        if context is not None:
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname="localhost"))
        connection.sendall(sent)


def peak(process: WebhookProcess) -> int:
    """The most memory that the process has had, in bytes."""
    text = Path(f"/proc/{process.process.pid}/status").read_text()
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", text)
    return int(kibibytes) << 10


def limit() -> int:
    """The chart's memory limit of the webhook, in bytes."""
    text = yaml.safe_load(VALUES.read_text())["webhook"]["resources"]["limits"]["memory"]
    assert text.endswith("Mi"), text
    return int(text.removesuffix("Mi")) << 20


@pytest.mark.promise("load-does-not-block")
@pytest.mark.parametrize("sent", HANGING.values(), ids=HANGING)
def test_a_pod_is_admitted_beside_connections_that_hang(webhook: WebhookProcess, directory: Path, sent: bytes) -> None:
    """More than fit: the slowest are closed, the pod is admitted, memory stays below the chart's limit."""
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    with contextlib.ExitStack() as stack:
        for _ in range(MEMORY // (COST + len(sent)) + 16):
            hang(stack, webhook.ports["admission"], sent, context)
        assert Client(webhook, directory).post("/pods", review(pod()))[0] == 200
    assert peak(webhook) < limit()
    assert [line for line in webhook.log if line["level"] in ("warning", "error")] == []


@pytest.mark.promise("load-does-not-block")
@pytest.mark.parametrize("port", ["admission", "health"])
def test_a_pod_is_admitted_beside_a_thousand_connections_without_tls(
    webhook: WebhookProcess, directory: Path, port: str
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            hang(stack, webhook.ports[port], POST + FIELDS if port == "health" else b"", None)
        assert Client(webhook, directory).post("/pods", review(pod()))[0] == 200
        assert webhook.health("/readyz") == (200, "ok\n")
        assert 'o365mailer_webhook_connections_closed_total{why="memory"}' in webhook.health("/metrics")[1]
    assert peak(webhook) < limit()


@pytest.mark.promise("load-does-not-block")
def test_a_process_without_descriptors_accepts_again_when_it_has_some(webhook: WebhookProcess) -> None:
    pid = webhook.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    with socket.create_connection(("127.0.0.1", webhook.ports["health"]), timeout=20) as connection:
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: webhook\r\nConnection: close\r\n\r\n")
        eventually(lambda: webhook.logged("cannot accept a connection"), "the webhook cannot accept")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    assert webhook.health("/readyz") == (200, "ok\n")


def test_bad_http_is_answered_and_leaves_no_line_in_the_log(webhook: WebhookProcess, directory: Path) -> None:
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    plain = socket.create_connection(("localhost", webhook.ports["admission"]), timeout=20)
    with context.wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall(b"POST /pods HTTP/1.1\r\nno colon here\r\n\r\n")
        assert connection.recv(1 << 16).split(b" ", 1)[1].startswith(b"400 Bad Request\r\n")
    with socket.create_connection(("localhost", webhook.ports["admission"]), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert connection.recv(1 << 16) == b""
    assert Client(webhook, directory).post("/pods", review(pod()))[0] == 200
    assert [line for line in webhook.log if line["level"] != "info"] == []


# --- The accounts -----------------------------------------------------------------------------------------------------


class Bounded:
    """A server with bounds of the test's own, what it closed for, and clients of it."""

    def __init__(self, *, memory: int, within: float, directory: Path | None) -> None:
        self.closed: list[Why] = []
        self.connections = Connections(closed=self.closed.append, memory=memory, within=within)
        self.listener = bind(("127.0.0.1", 0))
        self.server: ssl.SSLContext | None = None
        self.client: ssl.SSLContext | None = None
        if directory is not None:
            keeper = LeafKeeper(directory=directory, server_names=["localhost"], lifetime=DAY, clock=now)
            keeper.check()
            self.server, self.client = keeper.context, ssl.create_default_context(cafile=directory / "ca.crt")

    async def open(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self.listener.getsockname()
        name = "localhost" if self.client else None
        reader, writer = await asyncio.open_connection(host, port, ssl=self.client, server_hostname=name)
        writer.write(sent)
        return reader, writer

    async def until(self, found: Callable[[], bool]) -> None:
        """Returns once it is so."""
        await asyncio.to_thread(eventually, found, "the connections as the test wants them")


async def echo_size(request: web.Request) -> web.Response:
    try:
        return web.Response(text=str(len(await request.read())))
    except ConnectionError:
        raise web.HTTPBadRequest from None


@contextlib.asynccontextmanager
async def bounded(
    *, memory: int = 1 << 30, within: float = 60.0, directory: Path | None = None
) -> AsyncIterator[Bounded]:
    application = web.Application(client_max_size=BODY_LIMIT)
    application.router.add_post("/pods", echo_size)
    found = Bounded(memory=memory, within=within, directory=directory)
    async with serving(application, found.listener, found.connections, context=found.server):
        yield found


def whole(body: bytes = b"", *fields: bytes) -> bytes:
    return b"\r\n".join([POST + b"Content-Length: %d" % len(body), *fields, b"", body])


async def ended(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Returns once the server has closed the connection, whatever it said before."""
    with contextlib.suppress(ConnectionError):
        await connection[0].read()


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = re.findall(rb"Content-Length: (\d+)", head)
    return head, await reader.readexactly(int(length))


@pytest.mark.promise("load-does-not-block")
async def test_what_a_connection_holds_is_counted_and_given_back() -> None:
    async with bounded() as server:
        reader, writer = await server.open(POST + b"Content-Length: 1000\r\n\r\n" + bytes(600))
        await server.until(lambda: server.connections.held > COST)
        assert server.connections.held == COST + len(POST) + len(b"Content-Length: 1000\r\n\r\n") + 600
        writer.write(bytes(400))
        assert (await answer(reader))[1] == b"1000"
        await server.until(lambda: server.connections.held == COST)
        assert len(server.connections) == 1
        writer.close()
        await server.until(lambda: server.connections.held == 0)
        assert len(server.connections) == 0
        assert server.closed == []


@pytest.mark.promise("load-does-not-block")
async def test_the_slowest_connection_goes_where_there_is_no_room_for_another() -> None:
    async with bounded(memory=3 * COST) as server:
        first, second = await server.open(), await server.open()
        await server.until(lambda: len(server.connections) == 2)
        third = await server.open()
        await server.until(lambda: len(server.connections) == 3)
        fourth = await server.open()
        await ended(first)
        assert server.closed == ["memory"]
        second[1].write(whole())  # a few bytes too many, and it is the slowest now
        await ended(second)
        assert len(server.connections) == 2
        for connection in (third, fourth):
            connection[1].write(whole())
            assert (await answer(connection[0]))[1] == b"0"


@pytest.mark.promise("load-does-not-block")
async def test_who_sends_much_makes_the_slowest_go_and_never_passes_the_bound() -> None:
    async with bounded(memory=4 * COST) as server:
        idle = await server.open()
        await server.until(lambda: len(server.connections) == 1)
        large = await server.open(POST + LENGTH + bytes(COST * 5 // 2))
        await ended(idle)
        await server.until(lambda: server.connections.held > COST * 7 // 2)
        assert server.connections.held <= 4 * COST
        large[1].write(bytes(COST))
        await ended(large)
        assert (server.connections.held, server.closed) == (0, ["memory", "memory"])


@pytest.mark.promise("load-does-not-block")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("sent", HANGING.values(), ids=HANGING)
async def test_a_request_that_is_not_complete_in_time_ends_its_connection(
    directory: Path, sent: bytes, tls: bool
) -> None:
    async with bounded(within=0.3, directory=directory if tls else None) as server:
        connection = await server.open(sent)
        await ended(connection)
        await server.until(lambda: len(server.connections) == 0)
        assert server.connections.held == 0


@pytest.mark.promise("load-does-not-block")
async def test_a_tls_handshake_that_is_not_complete_in_time_ends_its_connection(directory: Path) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    whole_hello = outgoing.read()
    async with bounded(within=0.3, directory=directory) as server:
        server.client = None
        for sent in (b"", whole_hello[:20], whole_hello):
            await ended(await server.open(sent))
        assert server.closed == ["slow"] * 3
        assert (len(server.connections), server.connections.held) == (0, 0)


@pytest.mark.promise("load-does-not-block")
async def test_bytes_one_by_one_buy_no_time() -> None:
    async with bounded(within=0.3) as server:
        reader, writer = await server.open(POST)
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.wait({asyncio.ensure_future(reader.read(1))}, timeout=0.01)
        assert server.closed == ["slow"]


async def test_a_kept_connection_has_time_for_each_request_and_between_them() -> None:
    async with bounded(within=0.3) as server:
        kept = await server.open(whole(b"x"))
        await answer(kept[0])
        slow = await server.open()
        await ended(slow)  # longer than a request may take
        assert server.closed == ["slow"]
        kept[1].write(whole(b"xyz"))
        head, body = await answer(kept[0])
        assert body == b"3"
        assert b"Connection: close" not in head
        kept[1].write(POST)
        await ended(kept)
        assert server.closed == ["slow", "slow"]


@pytest.mark.parametrize(
    "sent",
    [whole(b"x") * 2, whole(b"x") + b"P", whole(b"x", b"X-Odd:  two spaces")],
    ids=["two requests", "a request and a byte", "not as an API server writes it"],
)
async def test_a_connection_is_kept_after_exactly_one_request(sent: bytes) -> None:
    async with bounded() as server:
        reader, _ = await server.open(sent)
        head, body = await answer(reader)
        assert b"Connection: close" in head
        assert body == b"1"
        assert await reader.read() == b""


@pytest.mark.parametrize(
    "sent",
    [
        whole(bytes(BODY_LIMIT + 1)),
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + bytes(1 << 20) + b"\r\n") * 4 + b"0\r\n\r\n",
    ],
    ids=["with its length", "in chunks"],
)
async def test_a_body_above_the_limit_is_told_so(sent: bytes) -> None:
    async with bounded() as server:
        reader, _ = await server.open(sent)
        assert (await answer(reader))[0].startswith(b"HTTP/1.1 413 ")


async def test_a_compressed_body_is_not_unpacked() -> None:
    async with bounded() as server:
        reader, _ = await server.open(whole(b"\x1f\x8b" + bytes(50), b"Content-Encoding: gzip"))
        assert (await answer(reader))[1] == b"52"
