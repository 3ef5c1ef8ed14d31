"""The command `o365mailer-sidecar`: the relay, and `o365mailer-sidecar spool …` for a person who looks after its queue.

The relay exits with 0 after SIGTERM, 75 if mail stays in the spool, 2 for a wrong command line, and 1 if it cannot
listen or has hung.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence

import uvloop

from o365mailer_contract.names import EXIT_MAIL_LEFT, EXIT_WRONG_USAGE
from o365mailer_sidecar import watchdog
from o365mailer_sidecar.app import Service, now
from o365mailer_sidecar.config import Options, options
from o365mailer_sidecar.errors import CannotListen, SpoolUnusable, WrongCommandLine
from o365mailer_sidecar.telemetry.event_log import EventLog, LogFile, capture


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run until told to stop. The log goes to standard error, one JSON object a line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    environment = os.environ if environment is None else environment
    if arguments[:1] == ["spool"]:
        from o365mailer_sidecar.spool import command  # a relay has no use for it in its memory

        return command.main(arguments[1:], environment)
    try:
        chosen = options(arguments, environment)
        scratch = chosen.scratch_dir
        if scratch and not os.access(scratch, os.W_OK | os.X_OK):
            raise WrongCommandLine(f"--scratch-dir: '{scratch}' is not a directory that can be written to")
    except WrongCommandLine as error:
        sys.stderr.write(f"o365mailer-sidecar: {error}\n")
        return EXIT_WRONG_USAGE
    log = EventLog(write=LogFile(sys.stderr.fileno()).write, now=now, level=chosen.log_level or "info")
    capture(log)
    try:
        left = uvloop.run(_serve(chosen, log))
    except (CannotListen, SpoolUnusable) as error:
        sys.stderr.write(f"o365mailer-sidecar: {error}\n")
        return EXIT_WRONG_USAGE if isinstance(error, SpoolUnusable) else 1
    return EXIT_MAIL_LEFT if left else 0


async def _serve(chosen: Options, log: EventLog) -> int:
    watchdog.watch(asyncio.get_running_loop())
    return await Service(chosen, log=log).run()


if __name__ == "__main__":
    sys.exit(main())
