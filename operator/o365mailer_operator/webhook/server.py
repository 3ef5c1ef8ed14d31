"""The HTTP edge: admission over TLS, and the health port in clear. The only module here that knows aiohttp.

An exception while answering is HTTP 500, so that the configuration's failurePolicy decides about the request. A
well-formed refusal would bypass that policy.
"""

import contextlib
import logging
import socket
import time
import weakref
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from o365mailer_contract import names
from o365mailer_operator import health
from o365mailer_operator.connections import Connections, serving
from o365mailer_operator.pki.leaf_keeper import LeafKeeper
from o365mailer_operator.webhook.injection import inject
from o365mailer_operator.webhook.metrics import FAILED, MALFORMED, Metrics
from o365mailer_operator.webhook.pod import Pod
from o365mailer_operator.webhook.review import PODS, WORKLOADS, MalformedReview, Request, Review, decode, encode
from o365mailer_operator.webhook.settings import Settings
from o365mailer_operator.webhook.verdict import Denial, Patch, Verdict
from o365mailer_operator.webhook.workload import Workload, decide

LOGGER: Final = logging.getLogger(__name__)
BODY_LIMIT: Final = 3 << 20
"""Bytes of an AdmissionReview. etcd accepts objects of 1.5 MiB, and an UPDATE carries two."""

LONGEST_NAME: Final = 253
"""Characters of an object's name in the log. The API server checks names after admission: one may have a megabyte."""

Object = TypeVar("Object", Pod, Workload)


class Server:
    """Answers admission requests, probes and requests for metrics."""

    def __init__(self, *, settings: Settings, keeper: LeafKeeper, metrics: Metrics) -> None:
        self._settings = settings
        self._keeper = keeper
        self._metrics = metrics
        self._began_with: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
        self._ports = contextlib.AsyncExitStack()
        self._connections = Connections(closed=metrics.closed)
        self.serving = False
        """Whether the admission port is open and stays open. With a valid leaf, the webhook is then ready."""

    async def start_health(self, listener: socket.socket) -> None:
        """Serves probes and metrics on this socket."""
        app = health.application(unready=self.unready, exposition=self._exposition)
        await self._ports.enter_async_context(serving(app, listener, self._connections))

    async def start_admission(self, listener: socket.socket) -> None:
        """Serves admission over TLS on this socket."""
        app = web.Application(client_max_size=BODY_LIMIT)
        app.router.add_post(names.PODS_PATH, self._pods)
        app.router.add_post(names.WORKLOADS_PATH, self._workloads)
        await self._ports.enter_async_context(serving(app, listener, self._connections, context=self._keeper.context))
        self.serving = True

    async def stop(self) -> None:
        """Closes both ports; requests in progress are answered first."""
        self.serving = False
        await self._ports.aclose()

    async def _pods(self, http: web.Request) -> web.Response:
        def verdict(request: Request[Pod]) -> Verdict:
            return inject(request.object, namespace=request.namespace, settings=self._settings)

        return await self._answer(http, PODS, verdict)

    async def _workloads(self, http: web.Request) -> web.Response:
        def verdict(request: Request[Workload]) -> Verdict:
            old = request.old_object
            return decide(request.object, old, namespace=request.namespace, settings=self._settings)

        return await self._answer(http, WORKLOADS, verdict)

    async def _answer(
        self,
        http: web.Request,
        decoder: msgspec.json.Decoder[Review[Object]],
        verdict_on: Callable[[Request[Object]], Verdict],
    ) -> web.Response:
        try:
            body = await http.read()
        except (ConnectionError, web.RequestPayloadError) as error:
            raise web.HTTPBadRequest(text=f"the request did not arrive whole: {error}\n") from None
        began = time.perf_counter()
        try:
            request = decode(decoder, body)
        except MalformedReview as error:
            self._metrics.requests.labels(http.path, MALFORMED).inc()
            LOGGER.warning("malformed request", extra={"path": http.path, "error": str(error)})
            return web.Response(status=400, text=f"{error}\n")
        try:
            verdict = verdict_on(request)
        except BaseException:
            self._metrics.requests.labels(http.path, FAILED).inc()
            raise
        answer = web.Response(body=encode(request.uid, verdict), content_type="application/json")
        self._close_if_older_leaf(http, answer)
        self._metrics.answered(http.path, verdict)
        self._metrics.seconds.labels(http.path).observe(time.perf_counter() - began)
        _log(request, verdict)
        return answer

    def _close_if_older_leaf(self, http: web.Request, answer: web.Response) -> None:
        """A kept connection ends when the leaf that it began with is replaced. So the API server sees the new leaf, and
        its connections spread over the replicas again."""
        serial = self._keeper.leaf.pair.serial if self._keeper.leaf else 0
        if http.transport is not None and self._began_with.setdefault(http.transport, serial) != serial:
            answer.force_close()

    def unready(self) -> str:
        """Why the API server should not send requests here; empty where it may."""
        if not self._keeper.valid:
            return "no valid certificate yet"
        return "" if self.serving else "not serving"

    def _exposition(self) -> bytes:
        leaf = self._keeper.leaf
        self._metrics.leaf_expiry.set(leaf.not_after.timestamp() if leaf else 0)
        return self._metrics.text()


def _log(request: Request[Object], verdict: Verdict) -> None:
    metadata = request.object.metadata
    fields = {
        "uid": request.uid,
        "kind": request.kind.kind,
        "namespace": request.namespace,
        "object": (request.name or metadata.name or metadata.generate_name or "")[:LONGEST_NAME],
        "operation": request.operation,
        "dryRun": bool(request.dry_run),
    }
    match verdict:
        case Patch():
            LOGGER.info("patched", extra={**fields, "mailer": verdict.mailer})
        case Denial():
            LOGGER.info("denied", extra={**fields, "reason": verdict.reason})
        case _:
            LOGGER.debug("untouched", extra={**fields, "why": verdict.why})
