"""What is written to Exchange as a command is one command, whatever has got into an envelope, such as by the spool."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.one_client import client
from support.outgoing import outgoing
from support.scratch_submission import Peer, ScratchHost, Script
from support.sidecar_process import MailerDirectory, document
from support.spooling import queued, spooling
from support.waiting import eventually

from o365mailer_contract.settings import decode
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.mailer import Mailer, Token
from o365mailer_sidecar.message.body import Body
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.smtp.connection import Connection
from o365mailer_sidecar.smtp.protocol import SmtpProtocol, line
from o365mailer_sidecar.spool.entry import header_line
from o365mailer_sidecar.upstream.attempt import Attempt, Stage

CONTROLS = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))]
HOSTILE = {
    "CR-LF": "victim@evil.example>\r\nRCPT TO:<a@contoso.com",
    "LF": "victim@evil.example>\nRCPT TO:<a@contoso.com",
    "CR": "victim@evil.example>\rRCPT TO:<a@contoso.com",
    "NUL": "victim@evil.example\0@contoso.com",
    "ESC": "victim\x1b@contoso.com",
    "DEL": "victim\x7f@contoso.com",
    "NEL": "victim\x85@contoso.com",
    "quoted-LF": '"victim\nRCPT TO:<b@contoso.com>"@contoso.com',
    "bracket": "victim@evil.example><a@contoso.com",
    "space": "victim@evil.example> <a@contoso.com",
    "quote": 'victim@evil.example>"<a@contoso.com',
}
"""Each ends in a domain that may be allowed, and would name another address to Exchange, or break the command."""

EXTENSIONS = {"pipelined": (b"PIPELINING", b"DSN", b"SMTPUTF8"), "one-by-one": (b"DSN", b"SMTPUTF8")}


@pytest.mark.promise("no-smuggling")
@pytest.mark.parametrize("control", CONTROLS, ids=[f"{ord(control):02x}" for control in CONTROLS])
def test_no_control_character_leaves_in_a_command(control: str) -> None:
    for command in (f"RCPT TO:<a{control}@b.c>", f"{control}NOOP", f"NOOP{control}"):
        with pytest.raises(Refused) as refused:
            line(command.encode())
        assert refused.value.reply.code == 554


@pytest.mark.parametrize(
    "command", ["", "QUIT", 'RCPT TO:<"a b<>"@c.d>', "MAIL FROM:<\xe9@b.c> SMTPUTF8", "\xa0\xc0\xdf"]
)
def test_anything_else_leaves_as_it_is(command: str) -> None:
    assert line(command.encode()) == command.encode() + b"\r\n"


@pytest.mark.promise("no-smuggling")
async def test_commands_before_the_login_pass_the_same_guard() -> None:
    async with ScratchHost(lambda peer: (peer.line(), peer.say(b"250 ok\r\n"), peer.line())) as host:
        loop = asyncio.get_running_loop()
        transport, talk = await loop.create_connection(SmtpProtocol, "127.0.0.1", host.port)
        with pytest.raises(Refused):
            await talk.ask(b"EHLO x\r\nNOOP", timeout=10)
        assert [reply.code for reply in await talk.ask(b"EHLO y", timeout=10)] == [250]
        transport.close()
    assert host.peers[0].heard == b"EHLO y\r\n"


def takes_all(*extensions: bytes) -> Script:
    """A host with these extensions that takes every message."""

    def script(peer: Peer) -> None:
        peer.start()
        peer.line()
        peer.say(b"250-host\r\n" + b"".join(b"250-%b\r\n" % word for word in extensions) + b"250 AUTH XOAUTH2\r\n")
        peer.line()
        peer.say(b"235 ok\r\n")
        while command := peer.line():
            peer.say(b"354 go\r\n" if command == b"DATA\r\n" else b"250 2.0.0 ok\r\n")
            if command == b"DATA\r\n":
                peer.message()
                peer.say(b"250 2.0.0 taken\r\n")

    return script


@asynccontextmanager
async def connected(host: ScratchHost) -> AsyncIterator[Connection]:
    """A connection that can send."""
    settings = decode(json.dumps(document("127.0.0.1", host.port)).encode())
    connection = await client().connect(
        Mailer(settings, Token("token-not-a-secret", None), None),
        ssl.create_default_context(cadata=host.authority.cert_pem.bytes().decode()),
    )
    try:
        yield connection
    finally:
        connection.abort()


async def offer(connection: Connection, envelope: Envelope) -> None:
    """One message, which is taken."""
    message = outgoing(Envelope(queue_id="1", sender=Sender(address="noreply@contoso.com"), recipients=()))
    message.envelope = envelope  # whatever policy would say of it
    answers = await connection.transact(message, Attempt(Stage.UNDERWAY))
    assert answers.final
    assert answers.final.code == 250


def envelopes(address: str) -> list[Envelope]:
    """With this as the sender, as the recipient, as one of several, and in the parameters of MAIL and of RCPT."""
    sender, to = Sender(address="noreply@contoso.com"), Recipient(address="a@contoso.com")
    notes = Sender(address=sender.address, parameters=(f"ENVID={address} x",))
    original = Recipient(address=to.address, parameters=(f"ORCPT=rfc822;{address} x",))
    return [
        Envelope(queue_id="1", sender=by, recipients=recipients)
        for by, recipients in (
            (Sender(address=address), (to,)),
            (sender, (Recipient(address=address),)),
            (sender, (to, Recipient(address=address))),
            (notes, (to,)),
            (sender, (original,)),
        )
    ]


@pytest.mark.promise("no-smuggling")
@pytest.mark.parametrize("extensions", EXTENSIONS.values(), ids=EXTENSIONS)
async def test_an_envelope_that_would_be_another_command_is_refused_before_a_byte_of_it_leaves(
    extensions: tuple[bytes, ...],
) -> None:
    every = [envelope for hostile in HOSTILE.values() for envelope in envelopes(hostile)]
    async with ScratchHost(takes_all(*extensions)) as host, connected(host) as connection:
        for envelope in every:
            with pytest.raises(Refused) as refused:
                await offer(connection, envelope)
            assert (refused.value.reply.code, refused.value.reply.enhanced) == (554, "5.5.4")
        for envelope in envelopes('"a <b> c"@contoso.com')[:3]:
            await offer(connection, envelope)
    [peer] = host.peers
    assert (peer.heard.count(b"\nMAIL "), peer.heard.count(b"\nRCPT ")) == (3, 4), "the ordinary ones alone"
    assert b"victim" not in peer.heard


@pytest.mark.promise("no-smuggling")
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_spool_file_with_such_an_address_sends_nothing_and_stops_nothing(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path, hostile: str
) -> None:
    directory.write_for(
        emulator, recipients={"allowedDomains": ["contoso.com"]}, requires=["recipients.allowedDomains"]
    )
    queue = tmp_path / "spool" / "0" / "queue"
    queue.mkdir(parents=True)
    body = Body(b"Subject: x\r\n\r\nbody\r\n")
    for name, address in (("AAAA", hostile), ("BBBB", "b@contoso.com")):
        to = (Recipient(address=address),)
        envelope = Envelope(queue_id=name, sender=Sender(address="noreply@contoso.com"), recipients=to)
        (queue / name).write_bytes(header_line(Message(envelope, body, datetime.now(UTC))) + body.content)
    with spooling(directory, tmp_path):
        eventually(lambda: queued(tmp_path) == [])
    assert [message["recipients"] for message in emulator.messages()] == [["b@contoso.com"]]
    assert emulator.counters()["commands"]["RCPT"] == 1
