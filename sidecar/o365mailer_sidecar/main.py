"""`o365mailer-sidecar`: exit 0 after SIGTERM, 2 for a wrong command line, 1 when it cannot listen."""

import os
import sys
from collections.abc import Mapping, Sequence

import uvloop

from o365mailer_sidecar.arguments import Options, options
from o365mailer_sidecar.errors import CannotListen, WrongCommandLine
from o365mailer_sidecar.journal import Journal, capture
from o365mailer_sidecar.service import Service, now


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run until told to stop. The log goes to standard error, one JSON object a line."""
    try:
        chosen = options(
            sys.argv[1:] if arguments is None else arguments, os.environ if environment is None else environment
        )
        scratch = chosen.scratch_dir
        if scratch and not os.access(scratch, os.W_OK | os.X_OK):
            raise WrongCommandLine(f"--scratch-dir: '{scratch}' is not a directory that can be written to")
    except WrongCommandLine as error:
        sys.stderr.write(f"o365mailer-sidecar: {error}\n")
        return 2
    journal = Journal(write=_write, now=now, level=chosen.log_level or "info")
    capture(journal)
    try:
        uvloop.run(_serve(chosen, journal))
    except CannotListen as error:
        sys.stderr.write(f"o365mailer-sidecar: {error}\n")
        return 1
    return 0


async def _serve(chosen: Options, journal: Journal) -> None:
    await Service(chosen, journal=journal).run()


def _write(line: bytes) -> None:
    os.write(sys.stderr.fileno(), line)


if __name__ == "__main__":
    sys.exit(main())
