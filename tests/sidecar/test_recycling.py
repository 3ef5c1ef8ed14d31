"""How long a connection is kept, and how messages go over it."""

import asyncio
import json
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from emulator_client import EmulatorClient
from scratch_submission import Peer, ScratchHost
from sidecar_process import MailerDirectory, Wire, document, running

from o365mailer_contract.settings import decode
from o365mailer_sidecar.directory import Mailer, Token
from o365mailer_sidecar.exchange.attempt import Attempt
from o365mailer_sidecar.exchange.connection import Connection, connect
from o365mailer_sidecar.exchange.dialer import Dialer
from o365mailer_sidecar.exchange.pool import Pool
from o365mailer_sidecar.exchange.window import Window
from o365mailer_sidecar.mail.body import Body
from o365mailer_sidecar.mail.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.mail.outgoing import Outgoing
from o365mailer_sidecar.watching.gauges import Gauges

ENVELOPE = Envelope(
    queue_id="1", sender=Sender(address="noreply@contoso.com"), recipients=(Recipient(address="a@example.com"),)
)


def takes_all(peer: Peer) -> None:
    """Every message by DATA, until QUIT."""
    peer.authenticate()
    while line := peer.line():
        if line == b"DATA\r\n":
            peer.say(b"354 go\r\n")
            peer.message()
        peer.say(b"221 bye\r\n" if line == b"QUIT\r\n" else b"250 2.0.0 ok\r\n")


async def connections(messages: int, *, expires_in: float = 3600.0, **limits: Any) -> list[int]:
    """How many messages went over each connection of a pool."""
    now = datetime.now(UTC)
    async with ScratchHost(takes_all) as host:
        settings = decode(json.dumps(document("127.0.0.1", host.port)).encode())
        context = ssl.create_default_context(cadata=host.authority.cert_pem.bytes().decode())
        dialer, gauges = Dialer(), Gauges()

        async def fresh(mailer: Mailer) -> Connection:
            return await connect(mailer, context=context, name="localhost", now=now, gauges=gauges, dialer=dialer)

        pool = Pool(connect=fresh, window=Window(uniform=min), **limits)
        mailer = Mailer(settings, Token("token-not-a-secret", now + timedelta(seconds=expires_in)), None)
        for _ in range(messages):
            async with asyncio.timeout(20), pool.lend(mailer) as connection:
                outgoing = Outgoing(Body(b"x\r\n"), envelope=ENVELOPE, mailbox="noreply@contoso.com", now=now)
                assert (await connection.transact(ENVELOPE, outgoing, Attempt())).final
        await pool.close()
    assert all(peer.heard.endswith(b"QUIT\r\n") for peer in host.peers), "each is said goodbye to"
    return [peer.heard.count(b"\r\nDATA\r\n") for peer in host.peers]


@pytest.mark.promise("R63")
@pytest.mark.parametrize(
    ("limits", "expected"),
    [({}, [4]),
     ({"message_limit": 2}, [2, 2]),
     ({"age_limit": 0.0}, [1, 1, 1, 1]),
     ({"expires_in": 9.0}, [1, 1, 1, 1])],
)  # fmt: skip
async def test_a_connection_is_given_up_by_count_by_age_and_before_its_token_ends(
    limits: dict[str, Any], expected: list[int]
) -> None:
    assert await connections(4, **limits) == expected


@pytest.mark.promise("B2", "R64")
@pytest.mark.parametrize("chunking", ["auto", "off", None, 7])
def test_an_older_controllers_chunking_is_ignored_and_every_message_goes_by_data(
    emulator: EmulatorClient, directory: MailerDirectory, chunking: object
) -> None:
    emulator.settings(bdat="taken")
    submission = {"host": emulator.smtp_host, "port": emulator.smtp_port}
    directory.write_for(emulator, submission=submission | {"chunking": chunking})
    with running(directory.path) as sidecar:
        for _ in range(3):
            with Wire(sidecar.port) as app:
                app.begin()
                assert app.deliver(b"Subject: x\r\n\r\nbody\r\n").startswith("250 ")
    counters = emulator.counters()
    assert (counters["connections"], counters["commands"]["DATA"]) == (1, 3)
    assert "BDAT" not in counters["commands"]
    assert len(emulator.messages()) == 3
