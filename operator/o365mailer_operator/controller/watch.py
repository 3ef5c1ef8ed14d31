"""The watch of O365Mailers. The only module that knows kopf.

kopf lists and watches, reconnects and relists; each event only says which mailer needs a reconcile. kopf's timers,
daemons, indices and change detection stay unused: they write annotations and finalizers, keep their times in memory,
and handle everything at once after a restart. kopf runs in a thread with its own event loop, because it takes over the
signal handlers of a main thread and, when it ends, cancels every task that began after it.
"""

import asyncio
import contextlib
import datetime
import itertools
import logging
import random
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import kopf

from o365mailer_contract import names
from o365mailer_operator.controller.cluster import PAGE, Cluster
from o365mailer_operator.controller.mailer import Manifest, needed

LOGIN_LIFETIME: Final = datetime.timedelta(minutes=5)
"""kubelet replaces a pod's token before 80 % of its life, usually an hour. It is read again well before that."""
LONGEST_BACKOFF: Final = 30.0
STOP_TIMEOUT: Final = 5.0

Deliver = Callable[[Manifest, bool], None]
"""Called in the watch's own thread with a mailer that exists, has changed or (True) was deleted."""


class WatchEnded(Exception):
    """The watch has ended by itself. Without it the controller notices no new mailer, so the process has to end too."""


class Backoffs:
    """Pauses after failed requests, in seconds, without end: so no outage of the API server ends the watch."""

    def __iter__(self) -> Iterator[float]:
        for attempt in itertools.count():
            yield min(LONGEST_BACKOFF, 2.0 ** min(attempt, 10)) * (0.5 + random.random() / 2)  # noqa: S311 - jitter


def settings_for_watching() -> kopf.OperatorSettings:
    """kopf as a watch and nothing else."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # or it would watch CRDs and namespaces, with the rights that needs
    settings.peering.standalone = True
    settings.process.ultimate_exiting_timeout = None  # or it would kill this process
    settings.queueing.worker_limit = None  # a worker that lingers would let others wait
    settings.queueing.idle_timeout = 0.01  # seconds for which a worker keeps its object, which may have 1.5 MiB
    settings.watching.chunk_size = PAGE
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = Backoffs()
    # Since kopf 1.44 bookmarks and an inactivity timeout notice a dead stream; these limits do too.
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 660
    settings.watching.connect_timeout = 10
    return settings


class Connection(kopf.ConnectionInfo):
    """kopf's connection to an API server whose authority may lack key identifiers, as in cluster.py."""

    def as_ssl_context(self) -> ssl.SSLContext:
        """kopf's own context without VERIFY_X509_STRICT."""
        context = super().as_ssl_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


class Watch:
    """The watch of all namespaces, or of some. An asynchronous context manager around its thread."""

    def __init__(self, cluster: Cluster, *, namespaces: Sequence[str], deliver: Deliver) -> None:
        self.cluster = cluster
        self.namespaces = namespaces
        self.deliver = deliver
        self.stop = threading.Event()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # kopf warns at each start that it does not handle signals. Here that is on purpose: it has its own thread.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
        self.thread = threading.Thread(target=self._run, args=(asyncio.get_running_loop(),), name="watch", daemon=True)

    async def run(self) -> None:
        """Watches until it is cancelled. Raises WatchEnded."""
        self.thread.start()
        try:
            await asyncio.shield(self.ended)
            raise WatchEnded("the watch ended")
        finally:
            self.stop.set()
            with contextlib.suppress(TimeoutError, WatchEnded):
                async with asyncio.timeout(STOP_TIMEOUT):
                    await self.ended

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        failure: Exception | None = None
        try:
            asyncio.run(self._operate())
        except Exception as error:  # noqa: BLE001 - the main loop has to know of any end
            failure = WatchEnded(f"the watch ended: {type(error).__name__}: {error}")
        with contextlib.suppress(RuntimeError):  # the main loop may have ended first
            loop.call_soon_threadsafe(self._settle, failure)

    def _settle(self, failure: Exception | None) -> None:
        if self.ended.done():
            return
        if failure is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(failure)

    async def _operate(self) -> None:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)(self._event)
        try:
            await kopf.operator(
                registry=registry,
                settings=settings_for_watching(),
                standalone=True,
                clusterwide=not self.namespaces,
                namespaces=self.namespaces,
                # Or kopf would look up our user, and the uid of a pod may have no entry in /etc/passwd.
                identity="o365mailer-controller",  # type: ignore[arg-type]  # kopf's name for str is private
                stop_flag=self.stop,
            )
        finally:
            # kopf waits for the flag in a thread that nothing cancels, and the event loop waits for that thread.
            self.stop.set()

    async def _login(self, **_: Any) -> Connection:
        login = await self.cluster.login()
        return Connection(
            server=login.server,
            ca_path=login.ca_path,
            certificate_path=login.certificate_path,
            private_key_path=login.key_path,
            token=login.token,
            expiration=datetime.datetime.now(datetime.UTC) + LOGIN_LIFETIME,
        )

    async def _event(self, *, event: kopf.RawEvent, **_: Any) -> None:
        # Only what is needed goes into the main loop's queue, which may be long while a user floods the API server.
        self.deliver(needed(event["object"]), event["type"] == "DELETED")
