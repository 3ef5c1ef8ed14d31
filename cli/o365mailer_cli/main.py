"""The commands `o365mailer` and `kubectl o365mailer`.

Exit status: 0 all is well, 1 something has failed, 2 wrong usage or input, or no access to the cluster, 130 after
Ctrl-C, 141 after the reader of the output is gone (`| head`), as a program that SIGPIPE ends.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Final

from o365mailer_cli.errors import CliError, WrongInput
from o365mailer_cli.output import CONTROL, finish
from o365mailer_cli.verb import PROGRAM, parser

PLUGIN: Final = "kubectl-o365mailer"
"""kubectl runs the program of this name for `kubectl o365mailer`."""
INTERRUPTED: Final = 130
READER_GONE: Final = 141


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run a verb. An error is one line on standard error."""
    known = os.environ if environment is None else environment
    words = sys.argv[1:] if arguments is None else list(arguments)
    verbs = parser(words, program=_program(sys.argv[0]))
    if not words:  # the first thing that a new user types: argparse's "arguments are required" names no verb
        verbs.print_help(sys.stderr)
        return WrongInput.exit_code
    given = verbs.parse_args(words)
    try:
        status = given.main(given, known)
        sys.stdout.flush()
    except CliError as error:
        finish(sys.stdout)
        _say(f"{PROGRAM}: {error}")
        return error.exit_code
    except BrokenPipeError:
        return READER_GONE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _say(f"{PROGRAM}: the output cannot be written: {error.strerror}.")  # half a document must not look whole
        return CliError.exit_code
    except KeyboardInterrupt:
        _say("")  # the prompt begins on a line of its own, after the ^C
        return INTERRUPTED
    finally:
        finish(sys.stdout)
        finish(sys.stderr)
    return int(status)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{CONTROL.sub('', text)}\n")


def _program(path: str) -> str:
    return "kubectl o365mailer" if PurePath(path).stem == PLUGIN else PROGRAM


if __name__ == "__main__":
    sys.exit(main())
