"""Every wait ends, and by the figure that the table has for it.

A peer falls silent at one step. That step's figure is made short and all others long: what ends soon was ended by it.
"""

import asyncio
import json
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from pathlib import Path

import pytest
from support.one_client import client
from support.outgoing import outgoing
from support.scratch_submission import CLEAR_EHLO, Peer, ScratchHost
from support.sidecar_process import Wire, document, running

from o365mailer_contract.settings import decode
from o365mailer_sidecar.errors import Away, Lost
from o365mailer_sidecar.mailer import Mailer, Token
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.smtp.connection import Connection
from o365mailer_sidecar.smtp.transaction import Answers
from o365mailer_sidecar.telemetry.health import Health
from o365mailer_sidecar.timeouts import TIMEOUTS, Timeouts
from o365mailer_sidecar.upstream.attempt import Attempt, Stage

SHORT, LONG = 0.2, 600.0
GUARD = 20.0
"""Seconds in which a short one must have ended a test, on a machine that is busy."""

PIPELINING = b"250-host\r\n250-AUTH XOAUTH2\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 SIZE 100000000\r\n"


def only(step: str) -> Timeouts:
    """Short for this step alone."""
    return Timeouts(**{field.name: SHORT if field.name == step else LONG for field in fields(Timeouts)})


def silent(peer: Peer) -> None:
    """Until the relay closes."""
    while peer.line():
        pass


def told(*replies: bytes) -> Callable[[Peer], None]:
    """Reads a line and says a reply, for each; then it is silent."""

    def script(peer: Peer) -> None:
        peer.authenticate()
        for reply in replies:
            peer.line()
            peer.say(reply)
        silent(peer)

    return script


def second(*replies: bytes) -> Callable[[Peer], None]:
    """Takes a first message, and reads a line for each of these replies of the second."""

    def script(peer: Peer) -> None:
        peer.start()
        peer.line()
        peer.say(PIPELINING)
        peer.line()
        peer.say(b"235 2.7.0 ok\r\n")
        for _ in (b"MAIL", b"RCPT", b"DATA"):
            peer.line()
        peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        peer.message()
        peer.say(b"250 2.6.0 first\r\n")
        for reply in replies:
            peer.line()
            peer.say(reply)
        silent(peer)

    return script


@asynccontextmanager
async def connected(script: Callable[[Peer], None], timeouts: Timeouts) -> AsyncIterator[Connection]:
    """A connection to a host that follows the script."""
    async with ScratchHost(script) as host:
        settings = decode(json.dumps(document("127.0.0.1", host.port)).encode())
        async with asyncio.timeout(GUARD):
            connection = await client(timeouts=timeouts).connect(
                Mailer(settings, Token("token-not-a-secret", None), None),
                ssl.create_default_context(cadata=host.authority.cert_pem.bytes().decode()),
            )
            try:
                yield connection
            finally:
                connection.abort()


async def offer(connection: Connection, content: bytes = b"Subject: x\r\n\r\n", recipients: int = 1) -> Answers:
    """One message."""
    to = tuple(Recipient(address=f"{number}@example.com") for number in range(recipients))
    envelope = Envelope(queue_id="1", sender=Sender(address="noreply@contoso.com"), recipients=to)
    return await connection.transact(outgoing(envelope, content), Attempt(Stage.UNDERWAY))


@pytest.mark.promise("exchange-connection")
def test_the_table_has_the_rfcs_figures() -> None:
    rfc5321 = {"mail": 300, "rcpt": 300, "data": 120, "block": 180, "final": 600, "idle": 300}
    assert {name: getattr(TIMEOUTS, name) for name in rfc5321} == rfc5321


@pytest.mark.promise("exchange-connection")
def test_the_document_has_the_tables_figures() -> None:
    text = (Path(__file__).parents[2] / "docs" / "sidecar.md").read_text(encoding="utf-8")
    section = text.partition("## How long it waits")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:3] == "| `"]
    assert {cells[0].strip("`"): cells[1] for cells in rows} == {
        field.name: f"{getattr(TIMEOUTS, field.name):g} s" for field in fields(Timeouts)
    }


def greeted(*replies: bytes) -> Callable[[Peer], None]:
    """Says these before TLS, a line read in between."""

    def script(peer: Peer) -> None:
        for reply in replies:
            peer.say(reply)
            peer.line()
        peer.connection.recv(65536)
        silent(peer)

    return script


def secured(peer: Peer) -> None:
    peer.start()
    silent(peer)


def unauthenticated(peer: Peer) -> None:
    peer.start()
    peer.line()
    peer.say(b"250-host\r\n250 AUTH XOAUTH2\r\n")
    silent(peer)


@pytest.mark.promise("exchange-connection")
@pytest.mark.parametrize(
    ("step", "script", "text"),
    [("greeting", silent, "127.0.0.1:{port}: no answer in time"),
     ("ehlo", greeted(b"220 host\r\n"), "no answer to EHLO within 0.2 s"),
     ("starttls", greeted(b"220 host\r\n", CLEAR_EHLO), "no answer to STARTTLS within 0.2 s"),
     ("tls", greeted(b"220 host\r\n", CLEAR_EHLO, b"220 go\r\n"), "127.0.0.1:{port}: no answer in time"),
     ("ehlo", secured, "127.0.0.1:{port}: no answer in time"),
     ("auth", unauthenticated, "AUTH: no answer in time")],
)  # fmt: skip
async def test_a_host_that_falls_silent_before_a_message_is_away(
    step: str, script: Callable[[Peer], None], text: str
) -> None:
    with pytest.raises(Away) as away:
        async with connected(script, only(step)) as connection:
            raise AssertionError(connection)
    port = str(away.value).partition("127.0.0.1:")[2].partition(":")[0]
    assert str(away.value) == text.format(port=port)


@pytest.mark.promise("exchange-connection")
@pytest.mark.parametrize(
    ("step", "script", "recipients"),
    [("mail", told(), 1),
     ("rcpt", told(b"250 ok\r\n"), 1),
     ("rcpt", told(b"250 ok\r\n", b"250 ok\r\n"), 2),
     ("data", told(b"250 ok\r\n", b"250 ok\r\n"), 1),
     ("final", told(b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"), 1)],
)  # fmt: skip
async def test_a_host_that_falls_silent_in_a_message_loses_the_connection(
    step: str, script: Callable[[Peer], None], recipients: int
) -> None:
    async with connected(script, only(step)) as connection:
        with pytest.raises(Lost, match=r"^no answer in time$"):
            await offer(connection, recipients=recipients)
        assert not connection.usable


@pytest.mark.promise("exchange-connection")
@pytest.mark.parametrize("recipients", [1, 2])
async def test_commands_in_one_write_that_are_not_answered_end_too(recipients: int) -> None:
    limits = Timeouts(mail=SHORT, rcpt=SHORT, data=SHORT, final=LONG)
    async with connected(second(), limits) as connection:
        assert (await offer(connection)).final
        with pytest.raises(Lost, match=r"^no answer in time$"):
            await offer(connection, recipients=recipients)


@pytest.mark.promise("exchange-connection")
async def test_a_host_that_does_not_take_the_message_loses_the_connection() -> None:
    def deaf(peer: Peer) -> None:
        peer.authenticate()
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            peer.line()
            peer.say(reply)
        done.wait(GUARD)

    done = threading.Event()
    async with connected(deaf, only("block")) as connection:
        try:
            with pytest.raises(Lost, match=r"^no answer in time$"):
                await offer(connection, b"x" * 76 * 250_000 + b"\r\n")
        finally:
            done.set()


@pytest.mark.promise("exchange-connection")
@pytest.mark.parametrize(
    "script",
    [told(b"250 ok\r\n", b"550 5.1.1 nobody\r\n"), told(b"550 5.7.1 no\r\n")],
)
async def test_a_verdict_does_not_wait_for_the_reset_after_it(script: Callable[[Peer], None]) -> None:
    async with connected(script, only("rest")) as connection:
        answers = await offer(connection)
        assert 550 in {answers.sender.code, *(reply.code for reply in answers.recipients)}
        assert not connection.usable


@pytest.mark.promise("exchange-connection")
async def test_a_refusal_does_not_wait_for_the_replies_to_the_commands_of_the_same_write() -> None:
    async with connected(second(b"550 5.7.1 no\r\n"), only("rest")) as connection:
        assert (await offer(connection)).final
        assert (await offer(connection)).sender.code == 550
        assert not connection.usable


@pytest.mark.promise("exchange-connection")
async def test_a_goodbye_is_not_waited_for() -> None:
    async with connected(told(), only("quit")) as connection:
        await connection.quit()
        assert connection.protocol.transport
        assert connection.protocol.transport.is_closing()


@pytest.mark.promise("exchange-connection")
async def test_a_scraper_that_asks_for_nothing_is_let_go() -> None:
    health = Health({}, timeouts=only("request"))
    server = await asyncio.start_server(health.serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        writer.write(b"GET /livez")
        async with asyncio.timeout(GUARD):
            assert await reader.read() == b""
        writer.close()


def flood(app: Wire) -> None:
    """Commands without reading, until no more are taken: there is a reply that is not read."""
    app.socket.settimeout(0.5)
    with suppress(TimeoutError):
        while True:
            app.send(b"HELP\r\n" * 1000)


@pytest.mark.promise("shutdown-keeps-mail", "exchange-connection")
def test_an_app_that_reads_nothing_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with running(tmp_path, arguments=("--grace", "1s")) as sidecar, Wire(sidecar.port) as app:
        flood(app)
        assert sidecar.stop(within=GUARD) == 0
        assert sidecar.event("stopping")["sessions"] == 1
