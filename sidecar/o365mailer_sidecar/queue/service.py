"""The spool and those who work on it, put together: what a process has beside the relay when it is given a disk."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from o365mailer_contract.quantities import byte_count
from o365mailer_contract.settings import Delivery, Settings
from o365mailer_sidecar.context import Context
from o365mailer_sidecar.mailer import Token
from o365mailer_sidecar.queue.accept import QueueAcceptor
from o365mailer_sidecar.queue.finish import Finisher
from o365mailer_sidecar.queue.scanner import SpoolScanner
from o365mailer_sidecar.queue.scheduler import Scheduler
from o365mailer_sidecar.spool.entry import QueueEntry
from o365mailer_sidecar.spool.spool import Spool
from o365mailer_sidecar.telemetry.metrics import Metrics
from o365mailer_sidecar.upstream.submit import Upstream

TERMINATION_LOG: Final = Path("/dev/termination-log")
"""Where kubelet looks for a container's last words (terminationMessagePath); it is there in a cluster alone."""

TERMINATION_LIMIT: Final = 4096
"""Octets that kubelet reads of it."""

PAUSE: Final = 5.0
"""Seconds until what has ended by a defect begins anew."""


class QueueService:
    """Opens the spool, which raises SpoolUnusable."""

    def __init__(
        self,
        context: Context,
        upstream: Upstream,
        path: Path,
        *,
        queue_id: Callable[[], str],
        apps: Callable[[], int],
    ) -> None:
        self.directory, self.clock, self.log = context.directory, context.clock, context.log
        # Before the spool is locked: from then on a person's command may send the signal.
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
        self.scanner: SpoolScanner | None = None
        report: Callable[..., None] = context.log.event
        self.spool = Spool(path, now=self.clock.now, report=report)
        finisher = Finisher(context, self.spool, queue_id=queue_id)
        scheduler = Scheduler(context, self.spool, upstream, finisher, apps=apps)
        self.scanner = SpoolScanner(context, self.spool, scheduler, expiry=finisher.expiry)
        self.acceptor = QueueAcceptor(context, self.spool, scheduler, upstream)
        self.seen: tuple[Settings | None, Token | None] | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def watch(self, metrics: Metrics) -> None:
        """Show what is in it."""
        spool = self.spool
        metrics.watch("spool_messages", lambda: len(spool.messages))
        metrics.watch("spool_bytes", lambda: spool.size)
        metrics.watch("spool_oldest_age_seconds", self._oldest_age)
        metrics.watch("spool_dead_messages", lambda: spool.dead)
        metrics.watch("spool_damaged_messages", lambda: spool.damaged)

    def _oldest_age(self) -> float:
        oldest = self.spool.oldest
        return max((self.clock.now() - oldest).total_seconds(), 0.0) if oldest else 0.0

    def _hang_up(self) -> None:
        if self.scanner:
            try:
                self.scanner.reread()
            except OSError as error:
                reason = error.strerror or type(error).__name__
                self.log.event("spool_unreadable", level="error", file=error.filename or "", reason=reason)
            self.acceptor.do(self.scanner.take_over())

    def start(self) -> None:
        """Deliver from now on."""
        assert self.scanner  # noqa: S101  # for the type checker
        scanner = self.scanner
        works = (self.acceptor.scheduler.run, scanner.recover, scanner.keep_sweeping, scanner.keep_taking_over)
        self.tasks = {asyncio.ensure_future(self._kept_up(work)) for work in works}

    async def _kept_up(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Until it has ended well. A defect of one must not end the delivery of what we have said 250 to."""
        while True:
            try:
                return await work()
            except Exception as error:  # noqa: BLE001
                self.log.failure("backlog_failed", error)
            await asyncio.sleep(PAUSE)

    def look(self) -> None:
        """The mailer directory may have changed: obey new limits, and try again what waited for a token."""
        seen = self.directory.settings, self.directory.token
        if seen == self.seen:
            if self.spool.messages:  # what was in the way may be gone all the same: a clock is right, a restriction off
                self.acceptor.scheduler.wake()
            return
        self.seen = seen
        spool = (seen[0].delivery if seen[0] else Delivery()).spool
        self.spool.max_size, self.spool.max_messages = byte_count(spool.max_size), spool.max_messages
        self.acceptor.scheduler.look_again()

    def begin_last_round(self, *, within: float) -> None:
        """Try everything once more, so many seconds at most."""
        self.acceptor.scheduler.begin_last_round(within=within)

    async def end(self) -> list[QueueEntry]:
        """What is left when the last round is over, oldest first: said in the log, and where kubelet looks."""
        await self.acceptor.scheduler.last_round_over()
        await self.acceptor.done()
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
        left = sorted(self.spool.messages.values(), key=lambda stored: stored.received)
        now = self.clock.now()
        for stored in left:
            self.log.event(
                "left_in_spool",
                level="warning",
                queue_id=stored.queue_id,
                size=stored.size,
                attempts=stored.attempts,
                held=stored.held,
                seconds=round((now - stored.received).total_seconds(), 3),
            )
        if left:
            leave_word(stored.queue_id for stored in left)
        self.spool.close()
        return left


def leave_word(queue_ids: Iterable[str], *, path: Path = TERMINATION_LOG) -> None:
    """Tell whoever describes the pod what its spool still holds. Does nothing where there is no such file."""
    names = list(queue_ids)
    text = f"{len(names)} messages stay in the spool: {' '.join(names)}"
    with suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(file, text.encode()[:TERMINATION_LIMIT])
        finally:
            os.close(file)
