"""Who answers for a message, whatever the order of events: relay, scheduler and spool on an Exchange that throws dice.

Apps send, lose patience and go; Exchange takes, defers, refuses, falls silent before and after the end of data. At the
end everything is tried once more on an Exchange that takes it, and the books must agree.
"""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.spooling import dead as dead_letters
from support.spooling import history, queued

from o365mailer_contract.settings import Settings, decode
from o365mailer_sidecar.context import Clock, Context
from o365mailer_sidecar.errors import Blocked, Lost, Withdrawn
from o365mailer_sidecar.message.body import Body
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.queue.accept import QueueAcceptor
from o365mailer_sidecar.queue.scanner import SpoolScanner
from o365mailer_sidecar.queue.scheduler import Scheduler
from o365mailer_sidecar.relay import Relay
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.smtp.transaction import Answers
from o365mailer_sidecar.spool.entry import Event, QueueEntry
from o365mailer_sidecar.spool.spool import Spool
from o365mailer_sidecar.telemetry.audit import Audit
from o365mailer_sidecar.telemetry.event_log import EventLog
from o365mailer_sidecar.telemetry.metrics import Metrics
from o365mailer_sidecar.upstream.attempt import Attempt
from o365mailer_sidecar.upstream.blocks import AWAY
from o365mailer_sidecar.upstream.classify import Verdicts, classify_all

SETTINGS: Settings = decode(
    b'{"schemaVersion": 1, "revision": 1, "mailbox": "a@b.c", "submission": {"host": "h"},'
    b' "delivery": {"confirmWithin": "8ms"}}'
)
MESSAGES = 60
OK, TAKEN = Reply(250, "2.1.5", "OK"), Reply(250, "2.0.0", "OK")
LATER, NEVER = Reply(451, "4.7.0", "later"), Reply(550, "5.1.10", "never")


class Exchange:
    """Answers as the dice fall, and keeps books."""

    def __init__(self, dice: random.Random) -> None:
        self.dice, self.kind = dice, False
        self.directory = SimpleNamespace(settings=SETTINGS)
        self.turn = asyncio.Semaphore(3)
        self.delivered: Counter[tuple[str, str]] = Counter()
        self.begun: Counter[str] = Counter()
        self.lost_after: set[str] = set()
        """Messages that it has, though no app was told."""

    def blocked(self) -> Any:
        """Sometimes there is no point in asking."""
        if self.kind or self.dice.random() > 0.15:
            return None
        until = asyncio.get_running_loop().time() + 0.003
        return Blocked(AWAY, Reply(451, "4.4.1", "away"), until=until)

    def reserve_moment(self, *, now: float) -> float:
        """No pace."""
        return now

    def begin_spooled(self) -> None:
        """No pace."""

    def throw(self, *chances: tuple[float, Any]) -> Any:
        """One of these by its chance, or the last."""
        number = 1.0 if self.kind else self.dice.random()
        for chance, what in chances:
            if number < chance:
                return what
            number -= chance
        return chances[-1][1]

    async def pause(self) -> None:
        """A while."""
        await asyncio.sleep(self.dice.choice((0, 0, 0.001, 0.004, 0.012)))

    async def transact(self, message: Message, attempt: Attempt) -> tuple[Envelope, Verdicts]:
        """As `Upstream` does."""
        envelope = message.envelope
        async with self.turn:
            if attempt.withdrawn:
                raise Withdrawn
            self.begun[envelope.queue_id] += 1
            if self.throw((0.1, True), (1.0, False)):
                raise Blocked(AWAY, Reply(451, "4.4.1", "away"), until=0.0)
            attempt.begin()
            await self.pause()
            replies = tuple(self.throw((0.12, LATER), (0.08, NEVER), (1.0, OK)) for _ in envelope.recipients)
            taken = [to.address for to, reply in zip(envelope.recipients, replies, strict=True) if reply is OK]
            if not taken or (len(taken) < len(replies) and not await attempt.divide()):
                return envelope, classify_all(envelope, Answers(sender=OK, recipients=replies))
            attempt.begin_body()
            await self.pause()
            if self.throw((0.08, True), (1.0, False)):
                raise Lost("before the end of data")
            attempt.commit()
            await self.pause()
            final = self.throw((0.12, LATER), (0.05, NEVER), (0.08, None), (1.0, TAKEN))
            if final is TAKEN or (final is None and self.dice.random() < 0.5):
                self.delivered.update((envelope.queue_id, to) for to in taken)
            if final is None:
                self.lost_after.add(envelope.queue_id)
                raise Lost("after the end of data")
            return envelope, classify_all(envelope, Answers(sender=OK, recipients=replies, final=final))


class House:
    """The relay and its host."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        loop = asyncio.get_running_loop()
        log = EventLog(write=len, now=lambda: datetime.now(UTC), level="error")
        metrics, clock = Metrics(), Clock(now=lambda: datetime.now(UTC), monotonic=loop.time)
        self.exchange: Any = Exchange(dice)
        self.audit = Audit(log=log, metrics=metrics, addresses=lambda: False)
        context = Context(
            clock=clock,
            dice=dice.uniform,
            log=log,
            metrics=metrics,
            audit=self.audit,
            directory=self.exchange.directory,
        )
        self.failures: list[BaseException] = []
        log.failure = lambda _, error: self.failures.append(error)  # type: ignore[method-assign]
        self.spool = Spool(folder, now=clock.now, report=lambda *_, **__: None)
        self.scheduler = Scheduler(
            context,
            self.spool,
            self.exchange,
            new_queue_id=lambda: "NOTICE",
            apps=lambda: len(self.relay.running),
        )
        self.scheduler.all_recovered()
        self.scanner = SpoolScanner(context, self.spool, self.scheduler, expiry=self.scheduler.finisher.expiry)
        self.acceptor = QueueAcceptor(context, self.spool, self.scheduler, self.exchange)
        self.relay = Relay(context, self.exchange, acceptor=self.acceptor)

    async def end(self) -> None:
        """Everything once more, on an Exchange that takes it."""
        await self.relay.drain(within=5)
        await self.acceptor.done()
        self.exchange.kind = True
        self.scheduler.begin_last_round(within=10)
        await self.scheduler.last_round_over()


async def app(house: House, dice: random.Random, number: int) -> tuple[str, tuple[str, ...], int, int]:
    """A message of an app, which may go: its queue id, recipients, the code it read (0: it has gone), attempts then."""
    await asyncio.sleep(dice.random() * 0.1)
    to = tuple(f"r{place}@example.com" for place in range(dice.choice((1, 1, 2, 3))))
    envelope = Envelope(
        queue_id=f"Q{number}",
        sender=Sender(address="a@b.c"),
        recipients=tuple(Recipient(address=address) for address in to),
    )
    message = Message(envelope, Body(b"Subject: x\r\n\r\nbody\r\n"), datetime.now(UTC))
    task = asyncio.ensure_future(house.relay.submit(message))
    await asyncio.wait({task}, timeout=dice.choice((0, 0.002, 0.006, 5, 5, 5, 5)))
    if task.done():
        return envelope.queue_id, to, task.result().code, 0
    task.cancel()
    await asyncio.wait({task})
    return envelope.queue_id, to, 0, house.exchange.begun[envelope.queue_id]


@pytest.mark.promise("spool-survives-crash", "app-gets-exchanges-verdict", "all-recipients-or-none")
@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_the_books_agree(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    house = House(tmp_path / "spool", dice)
    running = asyncio.ensure_future(house.scheduler.run())
    told = await asyncio.gather(*(app(house, dice, number) for number in range(MESSAGES)))
    await house.end()
    running.cancel()
    house.spool.close()
    left, dead = queued(tmp_path), {queue_id: history(tmp_path, queue_id) for queue_id in dead_letters(tmp_path)}
    books = house.exchange
    assert house.failures == []
    assert left == []
    for queue_id, to, code, begun in told:
        counts = [books.delivered[queue_id, address] for address in to]
        if code == 250:
            for address, count in zip(to, counts, strict=True):
                assert count or any(address in event.get("refused", ()) for event in dead[queue_id]), queue_id
        elif code:
            assert queue_id not in dead, (queue_id, code)
            assert not any(counts) or queue_id in books.lost_after, (queue_id, code)
        else:
            assert queue_id not in dead or any(counts), queue_id
            assert books.begun[queue_id] == begun, f"{queue_id} was tried again for nobody"
        assert max(counts) <= 1 or queue_id in books.lost_after, f"{queue_id} came twice"
    assert {code for _, _, code, _ in told} >= {0, 250}


@pytest.mark.promise("spool-sets-damaged-files-aside")
async def test_after_exchange_took_a_message_a_defect_sends_it_to_no_recipient_again(tmp_path: Path) -> None:
    house = House(tmp_path / "spool", random.Random(0))
    house.exchange.kind = True
    tell, told = house.audit.ended, asyncio.Event()

    def broken_once(*_: Any, **__: Any) -> None:
        house.audit.ended = tell  # type: ignore[method-assign]
        told.set()
        raise RuntimeError

    house.audit.ended = broken_once  # type: ignore[method-assign]
    sent = Envelope(queue_id="Q1", sender=Sender(address="a@b.c"), recipients=(Recipient(address="r@example.com"),))
    stored = await house.spool.store(Message(sent, Body(b"Subject: x\r\n\r\n"), datetime.now(UTC)))
    house.scheduler.take(stored)
    running = asyncio.ensure_future(house.scheduler.run())
    await told.wait()
    assert queued(tmp_path) == ["Q1"]
    await house.end()
    running.cancel()
    house.spool.close()
    assert [type(failure) for failure in house.failures] == [RuntimeError]
    assert house.exchange.delivered == {("Q1", "r@example.com"): 1}
    assert queued(tmp_path) == []


@pytest.mark.promise("spool-retries")
async def test_a_change_by_hand_in_the_moment_in_which_an_attempt_ends_strands_no_message(tmp_path: Path) -> None:
    house = House(tmp_path / "spool", random.Random(0))
    house.exchange.kind = True
    take, transact, asked = house.scheduler.take, house.exchange.transact, asyncio.Event()

    async def deferred_once(*_: Any) -> tuple[Envelope, Verdicts]:
        house.exchange.transact = transact
        return envelope, classify_all(envelope, Answers(sender=LATER, recipients=()))

    def take_and_reread(stored: QueueEntry, *, after: float = 0.0) -> None:
        house.scheduler.take = take  # type: ignore[method-assign]
        take(stored, after=after)
        house.spool.files.append("Q1", Event(at=datetime.now(UTC), event="note"), durable=False)
        assert house.scheduler.is_being_sent(stored), "its task has not ended"
        house.scanner.reread()  # SIGHUP
        asked.set()

    envelope = Envelope(queue_id="Q1", sender=Sender(address="a@b.c"), recipients=(Recipient(address="r@example.com"),))
    house.exchange.transact = deferred_once
    stored = await house.spool.store(Message(envelope, Body(b"Subject: x\r\n\r\n"), datetime.now(UTC)))
    house.scheduler.take(stored)
    house.scheduler.take = take_and_reread  # type: ignore[method-assign]
    running = asyncio.ensure_future(house.scheduler.run())
    await asked.wait()
    assert [entry[2] for entry in house.scheduler.waiting] == [stored]
    await house.end()
    running.cancel()
    house.spool.close()
    assert house.failures == []
    assert house.exchange.delivered == {("Q1", "r@example.com"): 1}
