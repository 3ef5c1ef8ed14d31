"""How long a connection is kept, and how messages go over it."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.emulator_client import EmulatorClient
from support.one_client import client
from support.outgoing import outgoing
from support.scratch_submission import Peer, ScratchHost
from support.sidecar_process import MailerDirectory, Wire, document, running

from o365mailer_contract.settings import decode
from o365mailer_sidecar.errors import Lost
from o365mailer_sidecar.mailer import Mailer, Token
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.smtp.connection import Connection
from o365mailer_sidecar.upstream.attempt import Attempt, Stage
from o365mailer_sidecar.upstream.fair_share import FairShare
from o365mailer_sidecar.upstream.pool import Pool

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


def mailer_of(host: ScratchHost, *, expires_in: float = 3600.0, **members: object) -> Mailer:
    """For this host."""
    settings = decode(json.dumps(document("127.0.0.1", host.port) | members).encode())
    return Mailer(settings, Token("token-not-a-secret", datetime.now(UTC) + timedelta(seconds=expires_in)), None)


def pool_for(host: ScratchHost, **limits: Any) -> Pool:
    """With connections to this host."""
    context = ssl.create_default_context(cadata=host.authority.cert_pem.bytes().decode())
    opener = client()

    async def fresh(mailer: Mailer) -> Connection:
        return await opener.connect(mailer, context)

    return Pool(connect=fresh, share=FairShare(dice=min), **limits)


@asynccontextmanager
async def lent(pool: Pool, mailer: Mailer, *, fresh: bool = False) -> AsyncIterator[Connection]:
    """A connection for the block, as `Upstream` borrows it."""
    connection = await pool.take(mailer, fresh=fresh)
    try:
        yield connection
    except BaseException:
        pool.cut(connection)
        raise
    pool.give_back(connection)


async def transact(connection: Connection) -> None:
    """A message."""
    assert (await connection.transact(outgoing(ENVELOPE), Attempt(Stage.UNDERWAY))).final


async def connections(messages: int, *, expires_in: float = 3600.0, **limits: Any) -> list[int]:
    """How many messages went over each connection of a pool."""
    async with ScratchHost(takes_all) as host:
        pool, mailer = pool_for(host, **limits), mailer_of(host, expires_in=expires_in)
        for _ in range(messages):
            async with asyncio.timeout(20), lent(pool, mailer) as connection:
                await transact(connection)
        await pool.close()
    assert all(peer.heard.endswith(b"QUIT\r\n") for peer in host.peers), "each is said goodbye to"
    return [peer.heard.count(b"\r\nDATA\r\n") for peer in host.peers]


@pytest.mark.promise("exchange-connection")
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


@pytest.mark.promise("unknown-restriction-stops-relaying", "exchange-connection")
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


def goodbyes(host: ScratchHost) -> int:
    """Connections that were told QUIT."""
    return sum(peer.heard.endswith(b"QUIT\r\n") for peer in host.peers)


@asynccontextmanager
async def three_idle() -> AsyncIterator[tuple[Pool, ScratchHost]]:
    """A pool with as many idle connections as a mailbox has."""
    async with ScratchHost(takes_all) as host:
        pool, mailer = pool_for(host, idle_limit=600.0), mailer_of(host)
        async with lent(pool, mailer) as one, lent(pool, mailer) as two, lent(pool, mailer) as three:
            for connection in (one, two, three):
                await transact(connection)
        assert (len(pool.idle), len(host.peers)) == (3, 3)
        yield pool, host
        await pool.close()


async def test_one_dead_connection_costs_no_other() -> None:
    async with three_idle() as (pool, host):
        with pytest.raises(Lost):
            async with lent(pool, mailer_of(host)):
                raise Lost("it was closed by the host")
        assert (len(pool.idle), goodbyes(host)) == (2, 0)
        async with lent(pool, mailer_of(host), fresh=True) as connection:
            assert connection.messages == 0
            await transact(connection)
        assert (len(pool.idle), len(host.peers), goodbyes(host)) == (3, 4, 0)


async def test_a_new_connection_takes_the_place_of_one_idle_connection_where_there_is_no_room() -> None:
    async with three_idle() as (pool, host):
        async with lent(pool, mailer_of(host), fresh=True) as connection:
            assert connection.messages == 0
            assert (len(pool), goodbyes(host)) == (3, 1)
        async with lent(pool, mailer_of(host, mailbox="other@contoso.com")) as connection:
            assert connection.messages == 0
            assert (len(pool), goodbyes(host)) == (3, 2)
        async with lent(pool, mailer_of(host)) as connection:
            assert connection.mailer.settings.mailbox == "noreply@contoso.com", "one that suits, though not the last"
            assert len(host.peers) == 5
