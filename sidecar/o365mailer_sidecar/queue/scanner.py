"""What the courier gets that no app has just brought: found at start, left by others, changed by hand."""

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
"""Messages that are read at once when a spool is found at start: 3 ms, and then mail has its turn."""

SWEEP_EVERY: Final = 3600.0
"""Seconds between looks for dead letters whose time is over."""

TAKE_OVER_EVERY: Final = 60.0
"""Seconds between looks for what processes have left that shared the directory: a rolling update ends the old pod after
the new one has started."""


class SpoolScanner:
    """Looks into the spool."""

    def __init__(self, context: Context, spool: Spool, scheduler: Scheduler, *, expiry: Expiry) -> None:
        self.spool, self.scheduler, self.expiry = spool, scheduler, expiry
        self.directory, self.clock, self.log = context.directory, context.clock, context.log

    async def recover(self) -> None:
        """What was there at start: the first of it leaves while the rest is still being read."""
        found = 0
        for stored in self.spool.recovered():
            self.scheduler.take(stored, after=self._wait_for(stored))
            found += 1
            if found % SLICE == 0:
                await asyncio.sleep(0)
        self.log.event("spool_recovered", messages=found)
        self.scheduler.knows_all()

    async def keep_sweeping(self) -> None:
        """`sweep` until cancelled."""
        while True:
            self.sweep()
            await asyncio.sleep(SWEEP_EVERY)

    def sweep(self) -> None:
        """Delete the dead letters whose time is over; none while the time of day has jumped too lately to tell."""
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
        """Deliver also what processes have left that are gone and shared the directory."""
        taken = await self.spool.take_over()
        for stored in taken:
            self.scheduler.take(stored, after=self._wait_for(stored))
        if taken:
            self.log.event("spool_taken_over", messages=len(taken))

    def reread(self) -> None:
        """Somebody has changed the spool by hand (SIGHUP)."""
        changes = self.spool.reread()
        self.scheduler.forget({*changes.changed, *changes.gone})
        for stored in (*changes.changed, *changes.appeared):
            if not self.scheduler.has_in_hand(stored):
                self.scheduler.take(stored, after=self._wait_for(stored))
        self.log.event(
            "spool_reread",
            appeared=len(changes.appeared),
            changed=len(changes.changed),
            gone=len(changes.gone),
        )
        self.scheduler.look_again()

    def _wait_for(self, stored: QueueEntry) -> float:
        """Seconds. A due time is one of day: a clock that was wrong then, or is now, holds no mail back for long."""
        if not stored.due:
            return 0.0
        return min(max((stored.due - self.clock.now()).total_seconds(), 0.0), retry.LONGEST)
