"""Which name is asked for, which address is tried first, and what a dead one costs."""

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.one_client import client
from support.scratch_submission import Peer, ScratchHost
from support.sidecar_process import MailerDirectory, Wire, document, running

from o365mailer_contract.settings import decode
from o365mailer_sidecar.errors import Away
from o365mailer_sidecar.mailer import Mailer, Token
from o365mailer_sidecar.smtp import connection
from o365mailer_sidecar.smtp.dial import Dialer, Endpoint, Resolver, interleaved
from o365mailer_sidecar.timeouts import Timeouts

UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
SILENT = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

GUARD = 10.0
"""Seconds for what must not wait for anything."""


class Zone:
    """Answers like the C library, and remembers what it was asked."""

    def __init__(self, answers: dict[str, list[Endpoint] | OSError]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, name: str, port: int) -> list[Endpoint]:
        self.asked.append(name)
        answer = self.answers.get(name, UNKNOWN)
        if isinstance(answer, OSError):
            raise answer
        return answer


def v4(port: int, last: int = 1) -> Endpoint:
    """On loopback."""
    return Endpoint(socket.AF_INET, (f"127.0.0.{last}", port))


@contextmanager
def listening(*, backlog: int = 8) -> Iterator[tuple[socket.socket, Endpoint]]:
    """A peer that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listener:
        yield listener, v4(listener.getsockname()[1])


@contextmanager
def black_hole() -> Iterator[Endpoint]:
    """An address that answers nothing at all: its queue is full, so the kernel drops every further SYN."""
    with listening(backlog=0) as (_, endpoint):
        fillers = []
        try:
            for _ in range(8):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(endpoint.address)
                fillers.append(filler)
            yield endpoint
        finally:
            for filler in fillers:
                filler.close()


@contextmanager
def refusing() -> Iterator[Endpoint]:
    """An address on which no process listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield v4(bound.getsockname()[1])


def dialer(*endpoints: Endpoint) -> Dialer:
    """For a host with these addresses, in this order."""
    return Dialer(Resolver(lookup=Zone({"host.test.": list(endpoints)})))


@pytest.mark.promise("exchange-connection")
@pytest.mark.parametrize(
    ("host", "asked"),
    [("smtp.office365.com", ["smtp.office365.com."]),
     ("smtp.office365.com.", ["smtp.office365.com."]),
     ("localhost", ["localhost"]),
     ("relay", ["relay"]),
     ("127.0.0.1", ["127.0.0.1"]),
     ("2001:db8::1", ["2001:db8::1"]),
     ("alias.corp.example", ["alias.corp.example"]),
     ("relay.mail.svc", ["relay.mail.svc.", "relay.mail.svc"])],
)  # fmt: skip
async def test_a_name_is_asked_for_at_the_root_unless_it_cannot_be_there(
    tmp_path: Path, host: str, asked: list[str]
) -> None:
    (tmp_path / "hosts").write_text(
        "127.0.0.1 localhost\n# 10.0.0.9 smtp.office365.com\n10.0.0.8 x Alias.corp.example\n"
    )
    zone = Zone({name: [v4(587)] for name in (asked[-1],)})
    assert await Resolver(lookup=zone, hosts=tmp_path / "hosts").endpoints(host, 587, timeout=GUARD) == [v4(587)]
    assert zone.asked == asked


@pytest.mark.promise("exchange-connection")
async def test_an_outage_of_the_name_servers_asks_no_search_domain() -> None:
    zone = Zone({"host.test.": SILENT, "host.test": [v4(587)]})
    with pytest.raises(Away, match=r"^host\.test:587: Temporary failure in name resolution$"):
        await Dialer(Resolver(lookup=zone)).dial("host.test", 587, timeouts=Timeouts())
    assert zone.asked == ["host.test."]


async def test_who_asks_while_a_look_up_runs_shares_it_and_waits_no_longer_than_allowed() -> None:
    asked: list[str] = []
    answer = asyncio.Event()

    async def slow(name: str, port: int) -> list[Endpoint]:
        asked.append(name)
        await answer.wait()
        return [v4(port)]

    resolver = Resolver(lookup=slow)
    patient = asyncio.ensure_future(resolver.endpoints("host.test", 587, timeout=GUARD))
    with pytest.raises(Away, match=r"^host\.test:587: no answer in time$"):
        await Dialer(resolver).dial("host.test", 587, timeouts=Timeouts(resolve=0.05))
    answer.set()
    assert await patient == [v4(587)]
    assert asked == ["host.test."]
    assert resolver.running == {}


def test_families_take_turns() -> None:
    six = [Endpoint(socket.AF_INET6, (f"2001:db8::{n}", 587, 0, 0)) for n in range(3)]
    four = [v4(587, n) for n in range(1, 3)]
    assert interleaved([*six, *four]) == [six[0], four[0], six[1], four[1], six[2]]
    assert interleaved([four[0], *six, four[0]]) == [four[0], six[0], six[1], six[2]]
    assert interleaved([]) == []


@pytest.mark.promise("exchange-connection")
async def test_a_dead_address_costs_one_short_wait_and_the_good_one_is_first_from_then_on() -> None:
    with black_hole() as dead, listening() as (_, alive):
        calls = dialer(dead, alive)
        made, endpoint = await calls.dial("host.test", 587, timeouts=Timeouts(connect=0.2))
        assert endpoint == alive
        made.close()
        calls.worked(endpoint, True)
        async with asyncio.timeout(GUARD):  # the dead one would be waited for until the test's own end
            made, endpoint = await calls.dial("host.test", 587, timeouts=Timeouts(connect=600, all_addresses=600))
        assert endpoint == alive
        made.close()


async def test_the_black_hole_is_one() -> None:
    """The control: without another address the wait finds nothing."""
    with black_hole() as dead, pytest.raises(Away, match=r"^host\.test:587: no answer in time$"):
        await dialer(dead).dial("host.test", 587, timeouts=Timeouts(connect=0.2))


@pytest.mark.promise("exchange-connection")
async def test_many_dead_addresses_cost_no_more_than_all_are_allowed() -> None:
    with black_hole() as dead, pytest.raises(Away, match="no answer in time"):
        async with asyncio.timeout(GUARD):
            await dialer(dead).dial("host.test", 587, timeouts=Timeouts(connect=600, all_addresses=0.2))


@pytest.mark.promise("exchange-connection")
async def test_every_cause_is_told_once_and_the_number_of_addresses_does_not_change_the_text() -> None:
    with refusing() as one, refusing() as other, black_hole() as dead:
        with pytest.raises(Away, match=r"^host\.test:587: Connection refused, no answer in time$"):
            await dialer(one, dead, other).dial("host.test", 587, timeouts=Timeouts(connect=0.2))
        with pytest.raises(Away, match=r"^host\.test:587: Connection refused$"):
            await dialer(one).dial("host.test", 587, timeouts=Timeouts())
    with pytest.raises(Away, match=r"^host\.test:587: no address$"):
        await dialer().dial("host.test", 587, timeouts=Timeouts())
    with pytest.raises(Away, match=r"^a\.\.b:587: "):
        await Dialer().dial("a..b", 587, timeouts=Timeouts())


def good(peer: Peer) -> None:
    peer.authenticate()
    peer.line()


@pytest.mark.promise("exchange-connection", "token-before-tls-never")
async def test_an_address_that_never_greets_is_the_last_one_next_time_and_the_certificates_name_has_no_dot() -> None:
    with listening() as (_, mute):
        async with ScratchHost(good, names=("relay.test",)) as host:
            settings = decode(json.dumps(document("relay.test.", 587)).encode())
            calls = Dialer(Resolver(lookup=Zone({"relay.test.": [mute, v4(host.port)]})))

            async def attempt(greeting: float) -> None:
                made = await client(dialer=calls, timeouts=Timeouts(greeting=greeting)).connect(
                    Mailer(settings, Token("token-not-a-secret", None), None),
                    ssl.create_default_context(cadata=host.authority.cert_pem.bytes().decode()),
                )
                made.abort()

            with pytest.raises(Away, match=r"^relay\.test:587: no answer in time$"):
                await attempt(0.2)
            async with asyncio.timeout(GUARD):
                await attempt(600)
            assert calls.good == v4(host.port)
            assert calls.failed == set()
            assert len(host.peers) == 1


@pytest.mark.parametrize(("patience", "failed"), [(600.0, False), (-1.0, True)], ids=["soon", "after-silence"])
async def test_an_app_that_goes_away_says_nothing_of_the_address_unless_that_was_silent(
    monkeypatch: pytest.MonkeyPatch, patience: float, failed: bool
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", patience)
    with listening() as (listener, mute):
        settings = decode(json.dumps(document("relay.test", 587)).encode())
        calls = Dialer(Resolver(lookup=Zone({"relay.test.": [mute]})))
        calls.worked(mute, True)
        attempt = asyncio.ensure_future(
            client(dialer=calls).connect(
                Mailer(settings, Token("token-not-a-secret", None), None), ssl.create_default_context()
            )
        )
        accepted, _ = await asyncio.to_thread(listener.accept)
        with accepted:
            await asyncio.sleep(0)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
        assert (calls.good, calls.failed) == (mute, {mute} if failed else set())


@pytest.mark.promise("exchange-connection")
def test_a_name_without_a_dot_reaches_its_host(directory: MailerDirectory) -> None:
    def refuses(peer: Peer) -> None:
        peer.authenticate()
        peer.line()
        peer.say(b"550 5.7.1 no\r\n")
        peer.line()
        peer.say(b"250 reset\r\n")
        peer.line()

    with ScratchHost(refuses, names=("localhost",)) as host, running(directory.path) as sidecar:
        host.describe(directory, submission={"host": "localhost", "port": host.port})
        with Wire(sidecar.port) as app:
            app.begin()
            assert app.deliver(b"Subject: x\r\n\r\n").startswith("550 5.7.1 no [")
