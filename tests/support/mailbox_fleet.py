"""Many pods on one mailbox, in virtual time: the real pool and the real window of each, and a model of Exchange."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from o365mailer_contract.settings import decode
from o365mailer_sidecar.mailer import Mailer, Token
from o365mailer_sidecar.smtp.connection import Connection
from o365mailer_sidecar.upstream.fair_share import FairShare
from o365mailer_sidecar.upstream.pool import Pool
from support.virtual_time import run

SLOTS = 3
"""Microsoft: three concurrent submissions a mailbox."""

HANDSHAKE = 0.1
REFUSAL = 0.05
BETWEEN = 0.005
"""Seconds: until AUTH is answered, until a 432, and from a 250 to the next message."""

DOCUMENT = b'{"schemaVersion": 1, "revision": 1, "mailbox": "a@b.c", "submission": {"host": "h"}}'


class Crowded(Exception):
    """The mailbox has no free slot (432)."""


@dataclass
class Exchange:
    """Gives out its slots to what `slots` says, and refuses at the place that `crowded_at` says."""

    slots: Literal["connection", "submission"]
    crowded_at: Literal["auth", "body"]
    seconds: float
    open: list[object] = field(default_factory=list)
    running: int = 0
    refused: int = 0
    used: float = 0.0
    """Seconds of slots in which a message was submitted."""

    def refuse(self) -> None:
        """Say 432."""
        self.refused += 1
        raise Crowded

    async def enter(self, session: object) -> None:
        """Authenticate. May refuse with 432."""
        await asyncio.sleep(HANDSHAKE)
        if self.crowded_at == "auth" and (len(self.open) if self.slots == "connection" else self.running) >= SLOTS:
            self.refuse()
        self.open.append(session)

    async def submit(self, session: object) -> None:
        """Submit one message."""
        taken = self.open.index(session) if self.slots == "connection" else self.running
        if self.crowded_at == "body" and taken >= SLOTS:
            await asyncio.sleep(REFUSAL)
            self.refuse()
        self.running += 1
        await asyncio.sleep(self.seconds)
        self.running -= 1
        self.used += self.seconds


class Session:
    """What the pool sees of a connection."""

    usable = True
    messages = 0
    ends_at = float("inf")

    def __init__(self, exchange: Exchange, mailer: Mailer) -> None:
        self.exchange, self.mailer = exchange, mailer
        self.opened_at = self.idle_since = asyncio.get_running_loop().time()

    async def quit(self) -> None:
        """Close in order."""
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        with suppress(ValueError):
            self.exchange.open.remove(self)


class Pod:
    """One sidecar's way to Exchange, and what it has delivered."""

    def __init__(self, exchange: Exchange, *, uniform: Callable[[float, float], float], connections: int) -> None:
        settings = decode(DOCUMENT[:-1] + b', "limits": {"connections": %d}}' % connections)
        self.mailer = Mailer(settings, Token("t", None), b"")
        self.exchange, self.delivered, self.waits = exchange, 0, list[float]()
        self.share = FairShare(dice=uniform)
        self.pool = Pool(connect=self._connect, share=self.share)

    async def _connect(self, mailer: Mailer) -> Connection:
        session = Session(self.exchange, mailer)
        try:
            await self.exchange.enter(session)
        except Crowded:
            self.share.throttled(None, now=asyncio.get_running_loop().time())
            raise
        return cast(Connection, session)

    async def deliver(self) -> None:
        """One message, tried until it is taken."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        while True:
            with suppress(Crowded):
                connection = await self.pool.take(self.mailer)
                began = loop.time()
                try:
                    await self.exchange.submit(connection)
                except Crowded:
                    self.share.throttled(connection, now=loop.time())
                    self.pool.give_back(connection)
                    continue
                except asyncio.CancelledError:
                    self.pool.cut(connection)
                    raise
                now = loop.time()
                self.share.accepted(connection, seconds=now - began, limit=self.pool.limit, now=now)
                self.pool.give_back(connection)
                self.delivered += 1
                self.waits.append(now - asked)
                return


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The result of a simulation."""

    utilisation: float
    """Share of the slots' time in which a message was submitted."""
    crowded: float
    """432 replies for each delivered message."""
    jain: float
    """(Σx)² / (n Σx²) of what each pod has delivered (Jain, Chiu, Hawe 1984): 1 when all are equal."""
    waits: tuple[float, ...] = ()
    """Seconds from asking to delivery, ascending."""


def jain(shares: list[int]) -> float:
    """Jain's index of fairness."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def fleet(
    *, pods: int, each: int, seed: int, slots: Any, crowded_at: Any, seconds: float = 1.0, connections: int = 3
) -> Figures:
    """All have as much to send as goes, until they have delivered `each` on average."""

    async def main() -> Figures:
        chance = random.Random(seed)
        exchange = Exchange(slots, crowded_at, seconds)
        members = [Pod(exchange, uniform=chance.uniform, connections=connections) for _ in range(pods)]
        enough = asyncio.Event()

        async def worker(pod: Pod) -> None:
            await asyncio.sleep(chance.uniform(0, 1))
            while True:
                await pod.deliver()
                if sum(member.delivered for member in members) >= pods * each:
                    enough.set()
                await asyncio.sleep(BETWEEN)

        workers = [asyncio.ensure_future(worker(pod)) for pod in members for _ in range(connections)]
        await enough.wait()
        shares = [pod.delivered for pod in members]
        now = asyncio.get_running_loop().time()
        await _end(workers)
        return Figures(
            utilisation=exchange.used / (SLOTS * now), crowded=exchange.refused / sum(shares), jain=jain(shares)
        )

    return run(main())


def flood(*, pods: int, minutes: float, seed: int, slots: Any, crowded_at: Any) -> Figures:
    """One pod has as much to send as goes, the others one message a minute each; `jain` and `waits` are the others'."""

    async def main() -> Figures:
        chance = random.Random(seed)
        exchange = Exchange(slots, crowded_at, 1.0)
        flooder, *others = [Pod(exchange, uniform=chance.uniform, connections=3) for _ in range(pods)]

        async def torrent() -> None:
            while True:
                await flooder.deliver()
                await asyncio.sleep(BETWEEN)

        async def trickle(pod: Pod) -> None:
            await asyncio.sleep(chance.uniform(0, 60))
            for _ in range(round(minutes)):
                due = asyncio.get_running_loop().time() + 60
                await pod.deliver()
                await asyncio.sleep(max(due - asyncio.get_running_loop().time(), 0))

        flows = [asyncio.ensure_future(torrent()) for _ in range(3)]
        await asyncio.gather(*(trickle(pod) for pod in others))
        now = asyncio.get_running_loop().time()
        shares = [pod.delivered for pod in others]
        await _end(flows)
        return Figures(
            utilisation=exchange.used / (SLOTS * now),
            crowded=exchange.refused / (sum(shares) + flooder.delivered),
            jain=jain(shares),
            waits=tuple(sorted(wait for pod in others for wait in pod.waits)),
        )

    return run(main())


async def _end(tasks: list[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
