"""`o365mailer-webhook`: from start to stop.

Both addresses are bound first, so that an address in use ends the process at once. A connection to the admission port
waits in the kernel's queue until there is a leaf for it. On SIGTERM the webhook stops being ready at once and closes
the port later, because a Service's endpoints take a moment to follow.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from typing import Final

from o365mailer_operator.clock import utc_now
from o365mailer_operator.connections import bind, shown
from o365mailer_operator.logs import start_logging
from o365mailer_operator.pki.leaf_keeper import LeafKeeper
from o365mailer_operator.webhook.metrics import Metrics
from o365mailer_operator.webhook.options import Options, parse
from o365mailer_operator.webhook.server import Server

LOGGER: Final = logging.getLogger(__name__)


def main() -> None:
    """The console script."""
    options = parse(None, os.environ)
    start_logging(options.log_level)
    try:
        health, admission = bind(options.health), bind(options.listen)
    except OSError as error:
        LOGGER.error(
            "cannot listen: set --listen and --health to addresses that are free and that this process may have",
            extra={"error": str(error), "listen": options.listen, "health": options.health},
        )
        sys.exit(1)
    asyncio.run(serve(options, health=health, admission=admission))


async def serve(options: Options, *, health: socket.socket, admission: socket.socket) -> None:
    """Serves on these sockets until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    keeper = LeafKeeper(
        directory=options.ca_directory,
        server_names=options.server_names,
        lifetime=options.leaf_lifetime,
        clock=utc_now,
    )
    server = Server(settings=options.settings, keeper=keeper, metrics=Metrics())
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(keeper.keep())
        starting = tasks.create_task(_start(server, keeper, health=health, admission=admission))
        await stop.wait()
        starting.cancel()
        LOGGER.info("stopping", extra={"drainSeconds": options.drain})
        if server.serving:
            server.serving = False
            await asyncio.sleep(options.drain)
        keeping.cancel()
        await server.stop()


async def _start(server: Server, keeper: LeafKeeper, *, health: socket.socket, admission: socket.socket) -> None:
    await server.start_health(health)
    LOGGER.info("health port open", extra={"address": shown(health)})
    await keeper.first.wait()
    await server.start_admission(admission)
    LOGGER.info("admission port open", extra={"address": shown(admission)})
