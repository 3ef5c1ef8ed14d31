"""`o365mailer-controller`: waits for the Lease, then keeps the token Secrets fresh until it has to stop.

The exit status is 0 after SIGTERM or SIGINT, 1 if another replica holds the Lease that this one had, if the watch ended
or if an outdated CRD was applied, and 2 for a wrong command line or an unknown API server.
"""

import asyncio
import contextlib
import logging
import random
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from typing import Final

from o365mailer_operator import health
from o365mailer_operator.clock import Clock
from o365mailer_operator.connections import Connections, bind, serving, shown
from o365mailer_operator.controller.agreement import Agreement
from o365mailer_operator.controller.authority_keeper import AuthorityKeeper
from o365mailer_operator.controller.cluster import MAILERS, Cluster, connect
from o365mailer_operator.controller.cluster_errors import ClusterError, Refused
from o365mailer_operator.controller.context import Context
from o365mailer_operator.controller.lease import Lease, LeaseLost, NotLeading
from o365mailer_operator.controller.mailer import Key, Manifest
from o365mailer_operator.controller.mailer_cache import MailerCache, key_of
from o365mailer_operator.controller.metrics import Metrics
from o365mailer_operator.controller.options import Options, parse
from o365mailer_operator.controller.pauses import pause_after_failures
from o365mailer_operator.controller.queue import DueQueue, work
from o365mailer_operator.controller.reconcile import Reconciler
from o365mailer_operator.controller.served_schema import SchemaOutdated, ServedSchema
from o365mailer_operator.controller.watch import Watch, WatchEnded
from o365mailer_operator.logs import start_logging
from o365mailer_operator.token.schedule import LONGEST_WAIT

CRD_PAUSE: Final = 5.0
"""Seconds between two checks whether the API server serves O365Mailers yet."""
RECONCILE_LIMIT: Final = 120.0
"""Seconds for one reconcile: more than all its timeouts together, so that no defect of ours holds a mailer for ever."""
DRAIN_LIMIT: Final = 5.0
"""Seconds after SIGTERM for reconciles and errands that have begun; Kubernetes gives 30 in all."""
CHANGES_APART: Final = 1.0
"""Seconds from a change of a mailer to the reconcile for the next one: something may change it in a loop, and each
change costs the API server several requests."""
STOPPED: Final = 0
LOST: Final = 1
WRONG: Final = 2

log = logging.getLogger(__name__)


def main() -> None:
    """The console script."""
    options = parse(sys.argv[1:])
    start_logging(options.log_level)
    sys.exit(asyncio.run(control(options)))


async def control(options: Options) -> int:
    """The exit status, after SIGTERM, SIGINT, or the loss of the Lease or the watch."""
    try:
        cluster = await connect()
    except Refused as error:
        print(f"o365mailer-controller: {error}", file=sys.stderr)
        return WRONG
    async with cluster:
        host, port = options.health
        try:
            listener = bind((host, port))
        except OSError as error:
            print(
                f"o365mailer-controller: cannot listen on {host} port {port}: {error.strerror}; "
                "give --health another HOST:PORT",
                file=sys.stderr,
            )
            return WRONG
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        return await Controller(options, cluster).run(stop, listener)


class Controller:
    """The parts of one process, put together."""

    def __init__(self, options: Options, cluster: Cluster) -> None:
        self.options = options
        self.cluster = cluster
        self.changed = asyncio.Event()
        self.clock = Clock()
        self.queue = DueQueue(clock=self.clock.monotonic)
        self.lease = Lease(
            cluster,
            namespace=options.namespace,
            identity=f"{options.identity}_{uuid.uuid4()}",
            duration=options.lease_duration,
            clock=self.clock,
        )
        self.cache = MailerCache()
        self.agreement = Agreement(
            cluster=cluster,
            cache=self.cache,
            namespaces=options.watch_namespaces,
            notice=self._notice,
            leading=lambda: self.lease.held,
            clock=self.clock,
        )
        self.schema = ServedSchema(cluster, clock=self.clock)
        self.metrics = Metrics(self.queue, leading=lambda: self.lease.held, agreed_at=lambda: self.agreement.last_wall)
        self.failures: dict[Key, int] = {}
        """How many reconciles of a mailer in a row have failed because of the API server."""
        self.draining = False
        self.reconciler = Reconciler(
            Context(options, cluster, self.lease, self.metrics, self.clock), cache=self.cache, due=self._due
        )

    async def run(self, stop: asyncio.Event, listener: socket.socket) -> int:
        """The exit status, once `stop` is set or something is lost. Probes and metrics are served on `listener`."""
        application = health.application(unready=self.unready, exposition=self.metrics.exposition)
        connections = Connections(closed=lambda why: self.metrics.closed.labels(why).inc())
        async with serving(application, listener, connections):
            log.info("listening", extra={"health": [shown(listener)]})
            working = asyncio.create_task(self._work())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            status = LOST if working.done() else STOPPED
            if status == STOPPED:
                await self._drain()
                working.cancel()
            try:
                await working
            except* asyncio.CancelledError:
                log.info("stopped")
            except* (LeaseLost, WatchEnded, SchemaOutdated) as losses:
                for loss in _leaves(losses):
                    log.error("lost what it takes to go on", extra={"error": str(loss)})
            except* Exception as faults:
                for fault in _leaves(faults):
                    log.error("ended by a defect of the controller", exc_info=fault)
            await self.lease.release()
            return status

    def unready(self) -> str:
        """Why this replica is not ready; empty while it leads or stands by."""
        if self.schema.problem:
            return self.schema.problem
        if not self.lease.looked:
            return "the API server has not answered yet"
        if self.lease.terms and not self.lease.held:
            return "paused: the Lease is not renewed"
        if self.lease.held and self.agreement.stale:
            return "the watch has not delivered what the API server lists"
        return ""

    async def _drain(self) -> None:
        """Let what has begun end, for a moment: a token that is being requested should be written."""
        self.draining = True
        self.queue.clear()
        for errands in self.reconciler.errands:
            errands.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_LIMIT):
                while self.queue.busy or any(errands.running for errands in self.reconciler.errands):
                    self.changed.clear()
                    await self.changed.wait()
        for errands in self.reconciler.errands:
            errands.cancel()

    async def _work(self) -> None:
        await self.schema.wait()
        await self.lease.acquire()
        log.info("leading", extra={"identity": self.lease.identity})
        async with asyncio.TaskGroup() as group:
            group.create_task(self.lease.hold(), name="lease")
            group.create_task(self.schema.guard(), name="schema")
            group.create_task(self._watch(), name="watch")
            group.create_task(
                work(self.queue, self.reconcile, changed=self.changed, leading=lambda: self.lease.held), name="work"
            )
            if self.options.webhook_configuration:
                group.create_task(self._authority(self.options.webhook_configuration), name="authority")

    async def _authority(self, configuration: str) -> None:
        keeper = AuthorityKeeper(
            cluster=self.cluster,
            namespace=self.options.namespace,
            configuration=configuration,
            clock=self.clock,
            leading=lambda: self.lease.held,
            ends=lambda end: self.metrics.authority_expiry.set(end.timestamp()),
        )
        await keeper.keep()

    async def _watch(self) -> None:
        """The watch begins when the API server serves O365Mailers: an earlier one would never see any."""
        loop = asyncio.get_running_loop()

        def deliver(manifest: Manifest, deleted: bool) -> None:
            loop.call_soon_threadsafe(self._deliver, manifest, deleted)

        await self._served()
        async with asyncio.TaskGroup() as group:
            group.create_task(
                Watch(self.cluster, namespaces=self.options.watch_namespaces, deliver=deliver).run(), name="kopf"
            )
            group.create_task(self.agreement.run(), name="agreement")

    async def _served(self) -> None:
        while True:
            try:
                await self.cluster.count(MAILERS, namespace=next(iter(self.options.watch_namespaces), None))
            except ClusterError as error:
                log.warning("O365Mailers cannot be listed yet", extra={"error": str(error)})
                await asyncio.sleep(CRD_PAUSE)
            else:
                return

    def _deliver(self, manifest: Manifest, deleted: bool) -> None:
        key = key_of(manifest["metadata"])
        if self.cache.deliver(manifest, deleted=deleted):
            since = self.reconciler.changed(key)
            self._notice(key, delay=max(0.0, CHANGES_APART - since))

    def _notice(self, key: Key, *, delay: float = 0.0) -> None:
        # A deleted mailer too: its reconcile finds nothing and forgets it, after the one that may be running.
        if not self.draining:
            self._due(key, delay=delay)

    def _due(self, key: Key, *, delay: float = 0.0) -> None:
        self.queue.put(key, delay=delay)
        self.changed.set()

    async def reconcile(self, key: Key) -> float | None:
        """One reconcile. A failure concerns this mailer alone: it is logged, counted and retried."""
        result = "internal_error"
        try:
            async with asyncio.timeout(RECONCILE_LIMIT) as limit:
                delay = await self.reconciler.reconcile(key)
            result = "success"
            self.failures.pop(key, None)
            return delay
        except NotLeading:
            result = "not_leading"
            return 0.0
        except ClusterError as error:
            result = "api_error"
            return self._wait_after_failure(key, str(error))
        except Exception:
            if limit.expired():
                result = "timeout"
                return self._wait_after_failure(key, f"no end within {RECONCILE_LIMIT:g} s")
            log.exception("a look failed by a defect of the controller", extra={"mailer": str(key)})
            return LONGEST_WAIT
        finally:
            self.metrics.reconciles.labels(result).inc()

    def _wait_after_failure(self, key: Key, error: str) -> float:
        """Seconds until the next one. Only the first failure in a row is a warning: an outage affects all mailers."""
        failures = self.failures[key] = self.failures.get(key, 0) + 1
        level = logging.WARNING if failures == 1 else logging.DEBUG
        log.log(level, "a look failed", extra={"mailer": str(key), "error": error})
        return pause_after_failures(failures, random=random.random())  # noqa: S311 - jitter


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The errors of nested task groups, one by one."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
