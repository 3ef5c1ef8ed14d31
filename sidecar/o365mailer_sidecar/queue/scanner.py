"""Finds messages in the spool for the scheduler: those of the start, those taken over, those a person changed."""

import asyncio
from typing import Final

from o365mailer_contract.quantities import seconds
from o365mailer_contract.settings import Delivery
from o365mailer_sidecar.context import Context
from o365mailer_sidecar.queue import retry
from o365mailer_sidecar.queue.retry import Expiry
from o365mailer_sidecar.queue.scheduler import Scheduler
from o365mailer_sidecar.spool.entry import QueueEntry
from o365mailer_sidecar.spool.spool import Spool

SLICE: Final = 50
"""Messages that are read at once at the start: 3 ms, and then messages of apps are served."""

SWEEP_EVERY: Final = 3600.0
"""Seconds between looks for dead letters to delete."""

TAKE_OVER_EVERY: Final = 60.0
"""Seconds between looks for partitions of processes that are gone: a rolling update ends the old pod after the new one
has started."""


class SpoolScanner:
    """Looks for messages and changes in the spool directory."""

    def __init__(self, context: Context, spool: Spool, scheduler: Scheduler, *, expiry: Expiry) -> None:
        self.spool, self.scheduler, self.expiry = spool, scheduler, expiry
        self.directory, self.clock, self.log = context.directory, context.clock, context.log

    async def recover(self) -> None:
        """Messages that were there at the start: the first leave while the rest is still being read."""
        found = 0
        for stored in self.spool.recovered():
            self._take(stored)
            found += 1
            if found % SLICE == 0:
                await asyncio.sleep(0)
        self.log.event("spool_recovered", messages=found)
        self.scheduler.all_recovered()

    async def keep_sweeping(self) -> None:
        """`sweep` until cancelled."""
        while True:
            self.sweep()
            await asyncio.sleep(SWEEP_EVERY)

    def sweep(self) -> None:
        """Delete dead letters after `keepDead`; none if the time of day has jumped since, and their age is unknown."""
        delivery = self.directory.settings.delivery if self.directory.settings else Delivery()
        keep = seconds(delivery.spool.keep_dead)
        gone = self.spool.expire_dead(keep=keep) if self.expiry.steady(within=keep) else 0
        if gone:
            self.log.event("dead_letters_removed", messages=gone)

    async def keep_taking_over(self) -> None:
        """`take_over` until cancelled."""
        while True:
            await asyncio.sleep(TAKE_OVER_EVERY)
            await self.take_over()

    async def take_over(self) -> None:
        """Take over the messages of processes that shared the directory and are gone."""
        taken = await self.spool.take_over()
        for stored in taken:
            self._take(stored)
        if taken:
            self.log.event("spool_taken_over", messages=len(taken))

    def reread(self) -> None:
        """A person has changed the spool (SIGHUP). Raises OSError."""
        changes = self.spool.reread()
        # A message that is being sent stays where it is: at its end, or waiting already while its task ends.
        idle = [stored for stored in changes.changed if not self.scheduler.is_being_sent(stored)]
        self.scheduler.forget({*idle, *changes.gone})
        for stored in (*idle, *changes.appeared):
            self._take(stored)
        self.log.event(
            "spool_reread",
            appeared=len(changes.appeared),
            changed=len(changes.changed),
            gone=len(changes.gone),
        )
        self.scheduler.look_again()

    def _take(self, stored: QueueEntry) -> None:
        """A due time is a time of day: if the clock was wrong then, or is now, the message must not wait for long."""
        wait = (stored.due - self.clock.now()).total_seconds() if stored.due else 0.0
        self.scheduler.take(stored, after=min(max(wait, 0.0), retry.LONGEST))
