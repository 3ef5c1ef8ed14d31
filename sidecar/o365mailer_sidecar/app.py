"""The process: makes its parts, listens, and ends.

It listens at once, whatever the mailer directory holds: an app that starts before its mailer is Ready gets a 451 that
says so, not a refused connection.
"""

import asyncio
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from o365mailer_contract import names
from o365mailer_sidecar.backoff import uniform
from o365mailer_sidecar.config import Address, Options, bind, bind_health, bound_address
from o365mailer_sidecar.context import Clock, Context
from o365mailer_sidecar.errors import CannotListen, NotReady
from o365mailer_sidecar.mailer import MailerDirectory
from o365mailer_sidecar.relay import Relay
from o365mailer_sidecar.smtp.server import SmtpServer
from o365mailer_sidecar.smtp.session import Session
from o365mailer_sidecar.telemetry.audit import Audit
from o365mailer_sidecar.telemetry.event_log import EventLog
from o365mailer_sidecar.telemetry.health import REQUEST_LIMIT, Health, Page
from o365mailer_sidecar.telemetry.metrics import Metrics, labels
from o365mailer_sidecar.timeouts import TIMEOUTS
from o365mailer_sidecar.upstream.submit import Upstream

if TYPE_CHECKING:
    from o365mailer_sidecar.queue.service import QueueService

SESSION_LIMIT: Final = 100
"""Sessions of apps at once: an app's pool of connections is smaller, and each session may hold a message in memory."""

LOOK_EVERY: Final = 5.0
"""Seconds between looks at the directory while there is no mail: the newest good token must be read before it is
replaced by something that is not."""

REMIND_EVERY: Final = 60.0
"""Seconds between log lines that say what the relay waits for."""


class Service:
    """Everything one process holds."""

    def __init__(self, options: Options, *, log: EventLog) -> None:
        self.options, self.log = options, log
        self.metrics = Metrics()
        self.stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.directory = MailerDirectory(options.mailer_dir, now=now, report=log.event, monotonic=loop.time)
        context = Context(
            clock=Clock(now=now, monotonic=loop.time),
            dice=uniform,
            log=log,
            metrics=self.metrics,
            audit=Audit(log=log, metrics=self.metrics, addresses=self._log_addresses),
            directory=self.directory,
        )
        self.upstream = Upstream(context)
        self.queue = self._queue_service(context, options.spool_dir) if options.spool_dir else None
        acceptor = self.queue.acceptor if self.queue else None
        self.relay = Relay(context, self.upstream, scratch=options.scratch_dir, acceptor=acceptor)
        self.smtp = SmtpServer(handler=self.relay, log=log, queue_id=new_queue_id, now=now, session_limit=SESSION_LIMIT)
        self.reminded_at = -REMIND_EVERY
        self._watch()

    def _queue_service(self, context: Context, path: Path) -> "QueueService":
        """Raises SpoolUnusable."""
        from o365mailer_sidecar.queue.service import QueueService  # half a MiB that most pods do not need

        return QueueService(
            context, self.upstream, path, new_queue_id=new_queue_id, apps=lambda: len(self.relay.running)
        )

    def _log_addresses(self) -> bool:
        return self.directory.settings is not None and self.directory.settings.log_addresses

    def _watch(self) -> None:
        watch = self.metrics.watch
        watch("sessions", lambda: len(self.smtp.sessions))
        watch("upstream_connections_open", lambda: len(self.upstream.pool))
        watch("upstream_up", lambda: not self.upstream.host.reason)
        watch("relay_info", lambda: {labels(version=names.RELEASE): 1})
        watch("mailer_ready", self._ready_to_submit)
        watch("token_expires_timestamp_seconds", self._token_end)
        watch("settings_revision", lambda: self.directory.settings.revision if self.directory.settings else 0)
        if self.queue:
            self.queue.watch(self.metrics)

    def _ready_to_submit(self) -> float:
        try:
            self.directory.mailer()
        except NotReady:
            return 0
        return 1

    def _token_end(self) -> float:
        token = self.directory.token
        return token.expires_at.timestamp() if token and token.expires_at else 0

    async def run(self) -> int:
        """Listen until SIGTERM or SIGINT, then finish what is in flight; how many messages stay in the spool.

        Raises CannotListen.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        servers = [server for a in self.options.listen if (server := await self._listen(a))]
        if not servers:
            raise CannotListen("none of the addresses to listen on exists on this machine")
        health = await self._listen_health()  # the last, so that /readyz answers only when every SMTP port does
        watcher = asyncio.ensure_future(self._watch_directory())
        if self.queue:
            self.queue.start()
        await self.stopping.wait()
        watcher.cancel()
        left = await self._stop(servers)
        health.close()
        return left

    async def _listen(self, address: Address) -> asyncio.Server | None:
        bound = bind(address)
        if not bound:
            self.log.event("listen_skipped", address=str(address), reason="this machine has no such address")
            return None
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Session(self.smtp), sock=bound)
        self._say_listening("smtp", bound_address(bound))
        return server

    async def _listen_health(self) -> asyncio.Server:
        pages = {
            names.LIVEZ: lambda: (200, "ok\n"),
            names.READYZ: self._readiness,
            names.METRICS: lambda: (200, self.metrics.page()),
        }
        bound = bind_health(self.options.health)
        server = await asyncio.start_server(Health(pages).serve, sock=bound, limit=REQUEST_LIMIT)
        self._say_listening("health", bound_address(bound))
        return server

    def _readiness(self) -> Page:
        """Listening is ready: an outage of Office 365 must not take the app out of service."""
        return (503, "stopping\n") if self.stopping.is_set() else (200, "ok\n")

    def _say_listening(self, protocol: str, address: Address) -> None:
        # `o365mailer run` waits for this line: its event, protocol, host and port are an interface.
        self.log.event(names.EVENT_LISTENING, always=True, protocol=protocol, host=address.host, port=address.port)

    async def _watch_directory(self) -> None:
        while True:
            try:
                self._look_at_directory()
            except Exception as error:  # noqa: BLE001  # a defect of the relay must not stop the delivery of the spool
                self.log.failure("watcher_failed", error)
            await asyncio.sleep(LOOK_EVERY)

    def _look_at_directory(self) -> None:
        """Read the newest good token, and log once a minute what the relay waits for."""
        now, reason = asyncio.get_running_loop().time(), ""
        try:
            self.directory.mailer()
        except NotReady as error:
            reason = str(error)
        if self.queue:
            self.queue.look()
        if not self.options.log_level and self.directory.settings:
            self.log.level = self.directory.settings.log_level
        if reason and now - self.reminded_at >= REMIND_EVERY:
            self.reminded_at = now
            self.log.event("waiting_for_mailer", level="warning", reason=reason)

    async def _stop(self, servers: list[asyncio.Server]) -> int:
        """Accept nothing new, finish what is in flight within the grace, close; how many messages stay in the spool."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.options.grace
        for server in servers:
            server.close()
        self.log.event("stopping", sessions=len(self.smtp.sessions), messages=len(self.relay.running))
        if self.queue:
            self.queue.scheduler.begin_last_round(within=self.options.grace)
        self.smtp.stop()
        await self.smtp.ended(within=self.options.grace)
        unknown = await self.relay.drain(within=deadline - loop.time())
        await self.smtp.ended(within=TIMEOUTS.last_words)  # their last reply is on its way
        self.smtp.abort()
        left = len(await self.queue.end()) if self.queue else 0
        await self.upstream.pool.close()
        self.log.event("stopped", without_verdict=unknown, left_in_spool=left)
        return left


def new_queue_id() -> str:
    """The name of one message, for its whole life: in replies, Received, log and spool."""
    return os.urandom(6).hex().upper()


def now() -> datetime:
    """The time of day, UTC."""
    return datetime.now(UTC)
