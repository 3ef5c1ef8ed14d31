"""One command, one reply: what is a reply before AUTH is done, and what is not."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scratch_submission import SECURE_EHLO, Peer, ScratchHost
from support.sidecar_process import MailerDirectory, Wire, running
from support.virtual_time import run

from o365mailer_sidecar.errors import Lost
from o365mailer_sidecar.smtp.protocol import REPLY_LIMIT, Fault, SmtpProtocol

GUARD = 10.0


async def heard(*chunks: bytes, strict: bool = False, end: bool = True) -> tuple[int, list[bytes]] | Fault | None:
    """What a host says in these pieces, and then closes: code and texts of the first reply, or why there is none."""
    protocol = SmtpProtocol(clear=strict)
    protocol.owed = 1
    waiting = asyncio.ensure_future(protocol.hear(timeout=GUARD if end else 0.01))
    await asyncio.sleep(0)
    for chunk in chunks:
        receive(protocol, chunk)
    if end:
        protocol.connection_lost(None)
    replies = await waiting
    return (replies[0].code, [text.rstrip() for text in protocol.last]) if replies else protocol.fault


def receive(protocol: SmtpProtocol, data: bytes) -> None:
    """As a transport hands them over."""
    while data:
        space = protocol.get_buffer(-1)
        part, data = data[: len(space)], data[len(space) :]
        space[: len(part)] = part
        protocol.buffer_updated(len(part))


@pytest.mark.promise("token-before-tls-never")
@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"220 host ready\r\n", (220, [b"host ready"])),
     (b"250-host\r\n250-SIZE 1\r\n250 AUTH XOAUTH2\r\n", (250, [b"host", b"SIZE 1", b"AUTH XOAUTH2"])),
     (b"250\r\n", (250, [b""])),
     (b"250 caf\xc3\xa9 \xff\r\n", (250, [b"caf\xc3\xa9 \xff"])),
     (b"220 one\r\n220 two\r\n", (220, [b"one"])),
     (b"250-host\r\n550 no\r\n", Fault.NO_SMTP),
     (b"250-host\r\nAUTH\r\n", Fault.NO_SMTP),
     (b"150 wait\r\n", Fault.NO_SMTP),
     (b"2500 much\r\n", Fault.NO_SMTP),
     (b"HTTP/1.1 400 Bad Request\r\n\r\n", Fault.NO_SMTP),
     (b"250-" + b"x" * REPLY_LIMIT, Fault.NO_SMTP),
     (b"250 " + b"x" * (REPLY_LIMIT - 6) + b"\r\n", (250, [b"x" * (REPLY_LIMIT - 6)])),
     (b"250-host\r\n250", Fault.CLOSED),
     (b"", Fault.CLOSED)],
)  # fmt: skip
async def test_a_reply_is_what_rfc_5321_says(data: bytes, expected: object) -> None:
    assert await heard(data) == expected
    assert await heard(*[data[place : place + 1] for place in range(len(data))]) == expected


@pytest.mark.promise("token-before-tls-never")
async def test_in_clear_only_crlf_ends_a_line() -> None:
    assert await heard(b"250-STARTTLS\n250 host\n", strict=True) is Fault.NO_SMTP
    assert await heard(b"250-STARTTLS\n250 host\n") == (250, [b"STARTTLS", b"host"])


async def test_a_reply_that_does_not_come_is_not_waited_for() -> None:
    assert await heard(b"250-host\r\n", end=False) is Fault.SILENT


@pytest.mark.promise("token-before-tls-never")
@pytest.mark.parametrize("together", [True, False])
async def test_nothing_is_said_to_a_host_that_has_spoken_out_of_turn(together: bool) -> None:
    protocol = SmtpProtocol(clear=True)
    for data in [b"220 one\r\n220 two\r\n"] if together else [b"220 one\r\n", b"2"]:
        receive(protocol, data)
    assert [reply.text for reply in await protocol.hear(timeout=GUARD)] == ["one"]
    assert protocol.fault is Fault.OUT_OF_TURN
    with pytest.raises(Lost, match=Fault.OUT_OF_TURN.value):
        await protocol.ask(b"EHLO x", timeout=GUARD)


@pytest.mark.promise("exchange-connection")
@pytest.mark.parametrize(("pause", "expected"), [(0.9, [250, 251, 252]), (1.1, [250])])
def test_each_reply_has_the_time_that_its_command_allows(pause: float, expected: list[int]) -> None:
    async def host() -> tuple[list[int], Fault | None]:
        protocol = SmtpProtocol()
        protocol.owed = 3
        waiting = asyncio.ensure_future(protocol.hear(timeout=1.0, every=True))
        await asyncio.sleep(0.5)
        for code in (250, 251, 252):
            receive(protocol, b"%d ok\r\n" % code)
            await asyncio.sleep(pause)
        codes = [reply.code for reply in await waiting]
        await asyncio.sleep(10)  # no timer is left behind
        return codes, protocol.fault

    assert run(host()) == (expected, None if len(expected) == 3 else Fault.SILENT)


@given(st.lists(st.sampled_from([b"250", b"-", b" ", b"\r\n", b"\n", b"\r", b"x", b"550", b"\0", b"2"]), max_size=12))
def test_however_it_is_cut_it_is_the_same_reply(pieces: list[bytes]) -> None:
    assert asyncio.run(heard(*pieces)) == asyncio.run(heard(b"".join(pieces)))


@pytest.mark.promise("outage-is-answered-at-once")
@pytest.mark.parametrize(
    ("answers", "told"),
    [((b"334 eyJzdGF0dXMiOiI0MDAifQ==\r\n", b"535 5.7.3 Authentication unsuccessful\r\n"),
      "451 4.7.8 Office 365 refuses the mailer's token for noreply@contoso.com: 535 5.7.3 Authentication unsu"),
     ((b"235-2.7.0 no\r\n535 5.7.3 mixed\r\n",), "451 4.4.1 Office 365 cannot be reached: AUTH: it spoke no SMTP;"),
     ((b"334 x\r\n235 2.7.0 too late\r\n",), "451 4.4.1 Office 365 cannot be reached: AUTH: it spoke out of turn;")],
)  # fmt: skip
def test_the_answer_to_auth_is_the_last_one_and_one(
    directory: MailerDirectory, answers: tuple[bytes, ...], told: str
) -> None:
    said: list[bytes] = []

    def host(peer: Peer) -> None:
        peer.start()
        peer.line()
        peer.say(SECURE_EHLO)
        for answer in answers:
            said.append(peer.line())
            peer.say(answer)
        peer.line()

    with ScratchHost(host) as scratch, running(directory.path) as sidecar, Wire(sidecar.port) as app:
        scratch.describe(directory)
        app.begin()
        assert app.deliver(b"Subject: x\r\n\r\n").startswith(told)
    assert said[0].startswith(b"AUTH XOAUTH2 dXNlcj1ub3JlcGx5QGNvbnRvc28uY29tAWF1dGg9QmVhcmVyI")
    assert said[1:] in ([], [b"\r\n"])
