"""The controller's own HTTP port: /livez, /readyz, /metrics. The only module here that knows aiohttp.web.

Alive: the event loop answers; what cannot be survived ends the process instead. Ready: the replica leads, or stands by
for another that does.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from o365mailer_contract import names
from o365mailer_operator import connections
from o365mailer_operator.connections import Connections, Why, bind


class CannotListen(OSError):
    """The address of the health port is taken, or not ours."""


log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def serving(
    address: tuple[str, int],
    *,
    unready: Callable[[], str],
    exposition: Callable[[], bytes],
    closed: Callable[[Why], None],
) -> AsyncIterator[None]:
    """Serves for as long as the context lasts. Port 0 takes a free one, which the log names.

    `unready` gives the reason why this process is not ready, or an empty text. `closed` is told why a connection was
    closed that kept us waiting.

    Raises CannotListen.
    """

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        reason = unready()
        return web.Response(status=503, text=f"{reason}\n") if reason else web.Response(text="ok\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    routes = ((names.LIVEZ, livez), (names.READYZ, readyz), (names.METRICS, metrics))
    application.add_routes([web.get(path, handler) for path, handler in routes])
    try:
        listener = bind(address)
    except OSError as error:
        raise CannotListen(f"cannot listen on {address[0]} port {address[1]}: {error.strerror}") from None
    host, port = listener.getsockname()[:2]
    async with connections.serving(application, listener, Connections(closed=closed)):
        log.info("listening", extra={"health": [f"{host}:{port}"]})
        yield
