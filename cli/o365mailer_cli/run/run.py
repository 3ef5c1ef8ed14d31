"""`o365mailer run`: a keeper that writes the mailer directory, a relay that reads it, and progress for the user."""

import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from o365mailer_cli.errors import CliError
from o365mailer_cli.mailer_file import load_mailer
from o365mailer_cli.object_source import source_of
from o365mailer_cli.run.keeper import Keeper
from o365mailer_cli.run.progress import Progress
from o365mailer_cli.run.relay import Relay
from o365mailer_cli.run.spool import SpoolDirectory, open_spool, usual_place, with_way_out
from o365mailer_cli.run.swap import SwappedDirectory, kept_directory, temporary_directory
from o365mailer_contract import names
from o365mailer_operator.clock import utc_now
from o365mailer_operator.token.entra import Entra

GRAVE: Final = frozenset({"warning", "error"})
OWN_DIRECTORY: Final = frozenset({"mailer_directory_problem", "waiting_for_mailer"})
"""Events of the relay about the mailer directory. The keeper says better why there is no token."""

COUNT_EVERY: Final = 2.0
"""Seconds between two counts of the queued messages, on a terminal."""

Signals = asyncio.Queue[int]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The command line of `o365mailer run`."""

    file: str
    listen: tuple[str, ...]
    listen_anywhere: bool
    health: str
    grace: str
    secrets_dir: Path | None
    directory: Path | None
    spool_dir: Path | None
    """None: the mailer's default directory."""
    no_spool: bool
    https_proxy: str | None

    def relay_flags(self) -> list[str]:
        """The flags that the relay gets."""
        flags = [part for address in self.listen for part in ("--listen", address)]
        flags += ["--health", self.health, "--grace", self.grace]
        return [*flags, "--listen-anywhere"] if self.listen_anywhere else flags


def run(options: RunOptions, *, environment: Mapping[str, str]) -> None:
    """Run until a signal. Raises CliError."""
    mailer = load_mailer(options.file)
    source = source_of(mailer.spec, directory=options.secrets_dir, environment=environment)
    progress = Progress(sys.stdout, now=utc_now)
    place: AbstractContextManager[SwappedDirectory] = (
        kept_directory(options.directory) if options.directory else temporary_directory()
    )
    with place as directory:
        keeper = Keeper(
            mailer,
            source=source,
            entra=Entra(proxy=options.https_proxy),
            directory=directory,
            progress=progress,
            random=random.random,
        )
        keeper.grant()  # report what is missing before anything listens
        spool = None if options.no_spool else open_spool(options.spool_dir or usual_place(mailer, environment))
        asyncio.run(_serve(options, keeper, spool))


async def _serve(options: RunOptions, keeper: Keeper, spool: SpoolDirectory | None) -> None:
    progress, spec = keeper.progress, keeper.mailer.spec
    progress.line(
        f"{keeper.mailer.name}: mail goes as {spec.mailbox} "
        f"through {spec.endpoints.submission_host}:{spec.endpoints.submission_port}"
    )
    if spool:
        progress.spool(spool.path, waiting=spool.waiting())
    with _signals() as signals:
        relay = await Relay.start(
            directory=keeper.directory.path, spool=spool.path if spool else None, flags=options.relay_flags()
        )
        problem = await _together(relay, keeper, signals, spool)
    if problem:
        raise with_way_out(problem) if spool and not options.spool_dir else problem
    progress.waits(spool.waiting() if spool else 0)
    progress.stopped()


async def _together(relay: Relay, keeper: Keeper, signals: Signals, spool: SpoolDirectory | None) -> CliError | None:
    """Run relay and keeper until the relay has ended. Returns what to tell the user about its end."""
    listening = asyncio.Event()
    telling = asyncio.create_task(_tell(relay, keeper.progress, listening))
    keeping = asyncio.create_task(_keep(keeper, listening))
    counting = asyncio.create_task(_count(spool, keeper.progress))
    stopping = asyncio.create_task(_stop(relay, keeper.progress, signals))
    ending = asyncio.create_task(relay.ended())
    try:
        await asyncio.wait({keeping, ending}, return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():  # it never returns, so this is a defect: do not leave a relay that gets no tokens
            relay.stop()
        await telling
        return await ending
    finally:
        stopping.cancel()
        counting.cancel()
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


@contextlib.contextmanager
def _signals() -> Iterator[Signals]:
    """The signals that stop the run, in order. Handled from before the relay starts, so that it is always stopped."""
    loop = asyncio.get_running_loop()
    queue = Signals()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, queue.put_nowait, number)
    yield queue


async def _stop(relay: Relay, progress: Progress, signals: Signals) -> None:
    """Stop the relay with its grace at the first signal, and at once at the second."""
    while True:
        await signals.get()
        if not relay.stopping:
            progress.stopping()
        relay.stop()


async def _keep(keeper: Keeper, listening: asyncio.Event) -> None:
    """Keep the token fresh, from when the relay listens: a relay that cannot listen needs no token."""
    await listening.wait()
    await keeper.keep()


async def _count(spool: SpoolDirectory | None, progress: Progress) -> None:
    """Show on a terminal how many messages are queued. Counts files, because the relay's log does not say it."""
    while spool and progress.terminal:
        progress.waits(spool.waiting())
        await asyncio.sleep(COUNT_EVERY)


async def _tell(relay: Relay, progress: Progress, listening: asyncio.Event) -> None:
    """Show the relay's events as progress. If standard error is no terminal, copy the log to it."""
    readable = sys.stderr.isatty()
    async for line, event in relay.lines():
        name = event.get("event")
        if name == names.EVENT_LISTENING:
            progress.listening(str(event.get("protocol")), _address(event))
            if event.get("protocol") == "smtp":
                listening.set()
        elif name == names.EVENT_MESSAGE:
            progress.message(str(event.get("outcome")), queue_id=str(event.get("queue_id", "")))
        elif readable and event.get("level") in GRAVE and name not in OWN_DIRECTORY:
            progress.relay_event(event)
        if event and not readable:
            with contextlib.suppress(OSError):  # as in Progress: mail does not wait for the log
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()


def _address(event: Mapping[str, Any]) -> str:
    host, port = str(event.get("host")), event.get("port")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
