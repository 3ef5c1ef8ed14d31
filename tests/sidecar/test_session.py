"""A session by itself: silence, floods, and any sequence of bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sidecar_process import Sidecar, Wire

from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.smtp.server import SessionLimits, SmtpServer
from o365mailer_sidecar.smtp.session import TURN, Session
from o365mailer_sidecar.telemetry.event_log import EventLog
from o365mailer_sidecar.timeouts import Timeouts


class Handler:
    """Accepts every message, or fails as the test says."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.taken: list[tuple[Envelope, bytes]] = []
        self.failure = failure

    def limits(self) -> SessionLimits:
        return SessionLimits(size_limit=10_000, line_endings="Normalize")

    async def submit(self, message: Message) -> Reply:
        if self.failure:
            raise self.failure
        self.taken.append((message.envelope, bytes(message.body.content)))
        return Reply(250, "2.0.0", "taken")

    def refused(self, envelope: Envelope, reply: Reply, *, size: int, reason: str) -> None:
        """The tests do not look at it."""

    def dropped(self, envelope: Envelope) -> None:
        self.taken.append((envelope, b""))


class Server:
    """A server of sessions, and what they wrote to the log."""

    def __init__(self, port: int, handler: Handler, sessions: set[Session], lines: list[bytes]) -> None:
        self.port, self.handler, self.sessions, self.lines = port, handler, sessions, lines

    async def exchange(self, data: bytes) -> bytes:
        """All replies to these bytes, after which the app closes its sending side."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        await reader.readuntil(b"\r\n")
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer


@asynccontextmanager
async def serving(*, failure: Exception | None = None, idle_limit: float = 300.0) -> AsyncIterator[Server]:
    """Open for the block."""
    loop = asyncio.get_running_loop()
    handler, sessions, lines = Handler(failure), set[Session](), list[bytes]()
    log = EventLog(write=lines.append, now=lambda: datetime.now(UTC))

    smtp = SmtpServer(
        handler=handler,
        log=log,
        queue_id=lambda: "QUEUE",
        now=lambda: datetime.now(UTC),
        session_limit=10,
        timeouts=Timeouts(idle=idle_limit, farewell=min(idle_limit, 10)),
        sessions=sessions,
    )
    listener = await loop.create_server(lambda: Session(smtp), "127.0.0.1", 0)
    async with listener:
        yield Server(listener.sockets[0].getsockname()[1], handler, sessions, lines)


@pytest.mark.promise("hostile-input-ends-its-own-session")
async def test_a_silent_app_is_let_go_after_the_idle_limit() -> None:
    async with serving(idle_limit=0.3) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        await reader.readuntil(b"\r\n")
        writer.write(b"NOOP\r\n")
        assert await reader.readuntil(b"\r\n") == b"250 2.0.0 OK\r\n"
        assert await reader.read() == b"421 4.4.2 No command for too long; closing\r\n"
        assert loop.time() - began >= 0.3
        writer.close()


@pytest.mark.promise("exchange-connection")
async def test_an_app_that_stops_in_the_middle_of_its_message_is_let_go() -> None:
    async with serving(idle_limit=0.3) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await reader.readuntil(b"\r\n")
        writer.write(b"EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n")
        await reader.readuntil(b"354 End data with <CR><LF>.<CR><LF>\r\n")
        writer.write(b"Subject: x\r\n")
        assert await reader.read() == b"421 4.4.2 No command for too long; closing\r\n"
        assert [body for _, body in server.handler.taken] == [b""], "dropped, and no more"
        writer.close()


@pytest.mark.promise("hostile-input-ends-its-own-session")
async def test_a_defect_of_ours_ends_one_session_and_says_nothing_of_its_text() -> None:
    message = b"EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n"
    async with serving(failure=RuntimeError("canary")) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"")
        await reader.readuntil(b"\r\n")
        writer.write(message)
        await reader.readuntil(b"354 End data with <CR><LF>.<CR><LF>\r\n")
        writer.write(b"x\r\n.\r\n")
        assert await reader.read() == (b"421 4.3.0 Internal error, written to the relay's log; try again later\r\n")
        writer.close()
        assert b"RuntimeError" in server.lines[0]
        assert b"canary" not in server.lines[0]
        assert (await server.exchange(b"NOOP\r\n")).startswith(b"250")


async def test_a_message_that_never_ends_is_not_read_for_ever() -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await reader.readuntil(b"\r\n")
        writer.write(b"EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n")
        await reader.readuntil(b"354 End data with <CR><LF>.<CR><LF>\r\n")
        writer.write(b"x" * 30_000)
        assert (await reader.read()).startswith(b"552 5.3.4 Message too big: the limit is 10000 bytes")
        writer.close()


async def test_an_app_that_does_not_read_is_not_answered_without_end_and_others_have_their_turn() -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        await reader.readuntil(b"\r\n")
        (session,) = server.sessions
        for _ in range(1000):
            writer.write(b"HELP\r\n" * 2000)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writer.drain(), 2)
        assert session.transport is not None
        assert session.transport.get_write_buffer_size() < 2**18
        assert len(session.read_buffer.data) <= 2**19
        answer = await asyncio.wait_for(server.exchange(b"NOOP\r\n"), 5)
        assert answer.startswith(b"250 2.0.0 OK")
        writer.transport.abort()


@pytest.mark.promise("hostile-input-ends-its-own-session")
async def test_an_app_that_never_reads_does_not_keep_its_place() -> None:
    async with serving(idle_limit=0.5) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        await reader.readuntil(b"\r\n")
        (session,) = server.sessions
        for _ in range(1000):
            writer.write(b"HELP\r\n" * 2000)
        async with asyncio.timeout(10):
            await session.over
        assert not server.sessions
        writer.transport.abort()


async def test_an_app_that_floods_commands_lets_others_have_their_turn() -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await reader.readuntil(b"\r\n")
        (session,) = server.sessions
        writer.write(b"NOOP\r\n" * 30_000 + b"QUIT\r\n")
        answers = asyncio.ensure_future(reader.read())
        longest = before = 0
        while not answers.done():
            await asyncio.sleep(0)
            longest, before = max(longest, session.lines - before), session.lines
        assert answers.result().count(b"250 2.0.0 OK\r\n") == 30_000
        assert longest <= TURN
        writer.close()


@pytest.mark.promise("hostile-input-ends-its-own-session")
async def test_replies_do_not_pile_up_while_commands_keep_coming() -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await reader.readuntil(b"\r\n")
        (session,) = server.sessions
        writer.write(b"NOOP\r\n" * 30_000 + b"QUIT\r\n")
        answers = asyncio.ensure_future(reader.read())
        kept = 0
        while not answers.done():
            await asyncio.sleep(0)
            kept = max(kept, len(session.write_buffer.pending))
        assert 1 < kept <= TURN
        assert answers.result().count(b"250 2.0.0 OK\r\n") == 30_000
        writer.close()


fragment = st.one_of(
    st.sampled_from(
        [b"EHLO x\r\n", b"MAIL FROM:<a@b.c>\r\n", b"RCPT TO:<d@e.f>\r\n", b"DATA\r\n", b".\r\n", b"\r\n.\r\n",
         b"RSET\r\n", b"QUIT\r\n", b"AUTH LOGIN\r\n", b"AUTH PLAIN x\r\n", b"\n", b"\r", b"\0", b"*\r\n",
         b"STARTTLS\r\n", b"NOOP\r\n"]
    ),
    st.binary(max_size=40),
)  # fmt: skip


@pytest.mark.promise("hostile-input-ends-its-own-session")
@pytest.mark.timeout(120)
@settings(max_examples=150, deadline=None)
@given(data=st.lists(fragment, max_size=25).map(b"".join))
def test_any_bytes_get_replies_and_an_end(data: bytes) -> None:
    async def attempt() -> None:
        async with serving() as server:
            answer = await asyncio.wait_for(server.exchange(data), 10)
            for line in answer.split(b"\r\n")[:-1]:
                assert line[:3].isdigit(), line
                assert line[3:4] in b" -"
            assert answer.endswith(b"\r\n") or not answer
            assert not [line for line in server.lines if b"_failed" in line]
            assert (await server.exchange(b"NOOP\r\n")).startswith(b"250")

    asyncio.run(attempt())


def test_addresses_with_two_domains_are_refused_recipients_and_no_bad_commands(idle_sidecar: Sidecar) -> None:
    with Wire(idle_sidecar.port) as app:
        app.begin("noreply@contoso.com")
        assert {app.ask(f"RCPT TO:<a@b{number}@example.com>")[:9] for number in range(25)} == {"501 5.1.3"}
        assert app.ask("RCPT TO:<b@example.com>").startswith("250")
        assert [app.ask("RCPT TO:<a b>")[:3] for _ in range(20)] == ["501"] * 20, "syntax counts"
        assert app.reply().startswith("421 4.7.0 Too many bad commands")
