"""The health port of a process, the controller or the webhook: /livez, /readyz, /metrics.

Alive means that the event loop answers. What the process cannot survive ends it instead.
"""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from o365mailer_contract import names

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The Prometheus text format that every scraper reads. Version 1.0.0 is for scrapers that ask for it."""


def application(*, unready: Callable[[], str], exposition: Callable[[], bytes]) -> web.Application:
    """`unready` gives the reason why this process is not ready, or an empty text; `exposition` the metrics."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        reason = unready()
        return web.Response(status=503, text=f"{reason}\n") if reason else web.Response(text="ok\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exposition(), headers={"Content-Type": METRICS_TYPE})

    served = web.Application()
    routes = ((names.LIVEZ, livez), (names.READYZ, readyz), (names.METRICS, metrics))
    served.add_routes([web.get(path, handler) for path, handler in routes])
    return served
