"""The queue of one process: its parts, its background tasks and its end. It is loaded only if there is a spool."""

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
from o365mailer_sidecar.queue.scanner import SpoolScanner
from o365mailer_sidecar.queue.scheduler import Scheduler
from o365mailer_sidecar.spool.entry import QueueEntry
from o365mailer_sidecar.spool.spool import Spool
from o365mailer_sidecar.telemetry.metrics import Metrics
from o365mailer_sidecar.upstream.submit import Upstream

TERMINATION_LOG: Final = Path("/dev/termination-log")
"""Where kubelet reads a container's termination message (terminationMessagePath); only in a cluster."""

TERMINATION_LIMIT: Final = 4096
"""Bytes of the termination message that kubelet reads."""

PAUSE: Final = 5.0
"""Seconds until a task that a defect has ended starts again."""


class QueueService:
    """Opens the spool at `path`, which raises SpoolUnusable. `apps` counts the messages that apps wait for."""

    def __init__(
        self,
        context: Context,
        upstream: Upstream,
        path: Path,
        *,
        new_queue_id: Callable[[], str],
        apps: Callable[[], int],
    ) -> None:
        self.directory, self.clock, self.log = context.directory, context.clock, context.log
        # Before the spool is locked: from then on the `spool` command may send the signal.
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reread)
        self.spool = Spool(path, now=self.clock.now, report=context.log.event)
        self.scheduler = Scheduler(context, self.spool, upstream, new_queue_id=new_queue_id, apps=apps)
        self.scanner = SpoolScanner(context, self.spool, self.scheduler, expiry=self.scheduler.finisher.expiry)
        self.acceptor = QueueAcceptor(context, self.spool, self.scheduler, upstream)
        self.seen: tuple[Settings | None, Token | None] | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def watch(self, metrics: Metrics) -> None:
        """Register the spool's gauges."""
        spool = self.spool
        metrics.watch("spool_messages", lambda: len(spool.messages))
        metrics.watch("spool_bytes", lambda: spool.size)
        metrics.watch("spool_oldest_age_seconds", self._oldest_age)
        metrics.watch("spool_dead_messages", lambda: spool.dead)
        metrics.watch("spool_damaged_messages", lambda: spool.damaged)

    def _oldest_age(self) -> float:
        oldest = self.spool.oldest
        return max((self.clock.now() - oldest).total_seconds(), 0.0) if oldest else 0.0

    def _reread(self) -> None:
        if self.scheduler.ended:  # the partition may be another process's in a moment, which reads what was changed
            return
        try:
            self.scanner.reread()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self.log.event("spool_unreadable", level="error", file=error.filename or "", reason=reason)
        self.acceptor.run(self.scanner.take_over())

    def start(self) -> None:
        """Deliver from now on."""
        scanner = self.scanner
        works = (self.scheduler.run, scanner.recover, scanner.keep_sweeping, scanner.keep_taking_over)
        self.tasks = {asyncio.ensure_future(self._keep_up(work)) for work in works}

    async def _keep_up(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` until it ends well. A defect in it must not end the delivery of messages with our 250."""
        while True:
            try:
                return await work()
            except Exception as error:  # noqa: BLE001
                self.log.failure("queue_failed", error)
            await asyncio.sleep(PAUSE)

    def look(self) -> None:
        """Look whether the mailer directory has changed: use its limits, and try messages that waited for a token."""
        seen = self.directory.settings, self.directory.token
        if seen == self.seen:
            if self.spool.messages:  # time alone may have helped: a clock was set right, a restriction has ended
                self.scheduler.wake()
            return
        self.seen = seen
        spool = (seen[0].delivery if seen[0] else Delivery()).spool
        self.spool.max_size, self.spool.max_messages = byte_count(spool.max_size), spool.max_messages
        self.scheduler.look_again()

    async def end(self) -> list[QueueEntry]:
        """Wait for the last round; the messages that stay, oldest first, after the log and kubelet have them."""
        await self.scheduler.last_round_over()
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
            write_termination_message(stored.queue_id for stored in left)
        self.spool.close()
        return left


def write_termination_message(queue_ids: Iterable[str], *, path: Path = TERMINATION_LOG) -> None:
    """Show in the pod's status what its spool still holds. Does nothing where there is no such file."""
    names = list(queue_ids)
    text = f"{len(names)} messages stay in the spool: {' '.join(names)}"
    with suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(file, text.encode()[:TERMINATION_LIMIT])
        finally:
            os.close(file)
