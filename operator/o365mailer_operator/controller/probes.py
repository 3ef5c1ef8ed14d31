"""The controller's own HTTP port: /livez, /readyz, /metrics. The only module here that knows aiohttp.web.

Alive: the event loop answers; what cannot be survived ends the process instead. Ready: the replica leads, or stands by
for another that does.
"""

import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from o365mailer_contract import names


class CannotListen(OSError):
    """The address of the health port is taken, or not ours."""


log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def serving(
    address: tuple[str, int], *, unready: Callable[[], str], exposition: Callable[[], bytes]
) -> AsyncIterator[None]:
    """Serves for as long as the context lasts. Port 0 takes a free one, which the log names.

    `unready` gives the reason why this process is not ready, or an empty text.

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
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await _listen(runner, address)
        log.info("listening", extra={"health": [f"{bound[0]}:{bound[1]}" for bound in runner.addresses]})
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, address: tuple[str, int]) -> None:
    host, port = address
    try:
        await web.SockSite(runner, _bound(host, port)).start()
    except OSError as error:
        raise CannotListen(f"cannot listen on {host} port {port}: {error.strerror}") from None


def _bound(host: str, port: int) -> socket.socket:
    """`::` answers on IPv4 too, which asyncio would switch off: the kubelet probes the address that the pod has."""
    if host != "::":
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("0.0.0.0", port))  # a node without IPv6
