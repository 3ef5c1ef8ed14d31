"""The command `o365mailer`.

Exit status of `run`: 0 after SIGINT or SIGTERM; 2 for a flag, a file or a Secret that cannot be used; 1 if the relay
could not start or ended by itself.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

from o365mailer_cli.errors import CliError
from o365mailer_cli.run.run import RunOptions, run

ENV_HTTPS_PROXY: Final = "O365MAILER_HTTPS_PROXY"
DEFAULT_LISTEN: Final = "127.0.0.1:2525"


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run a subcommand. An error is one line on standard error."""
    known = os.environ if environment is None else environment
    given = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    try:
        run(_options(given, known), environment=known)
    except CliError as error:
        _finish(sys.stdout)
        with contextlib.suppress(OSError):
            sys.stderr.write(f"o365mailer: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:  # Ctrl-C before the relay is started
        return 0
    finally:
        _finish(sys.stdout)
        _finish(sys.stderr)
    return 0


def _finish(stream: TextIO) -> None:
    """Flush. If that fails, redirect it to nowhere: Python would flush again at exit, and fail with status 120."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def folder(text: str) -> Path:
    """A directory's path. Raises ArgumentTypeError for an empty text, which Path reads as the current directory."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; is a variable unset? Name a directory")
    return Path(text)


def parser() -> argparse.ArgumentParser:
    """The subcommands and their flags."""
    made = argparse.ArgumentParser(
        prog="o365mailer", description="Mail through Office 365, without Kubernetes.", allow_abbrev=False
    )
    subcommands = made.add_subparsers(title="commands", required=True, metavar="COMMAND")
    subcommand = subcommands.add_parser(
        "run",
        help="keep a token fresh and relay mail on this machine",
        description="Keep the token of one O365Mailer fresh, and relay mail on loopback with it, until Ctrl-C.",
        allow_abbrev=False,
    )
    flag = subcommand.add_argument
    flag("-f", "--file", required=True, metavar="FILE", help="the O365Mailer, YAML or JSON; - for standard input")
    flag(
        "--listen",
        action="append",
        metavar="HOST:PORT",
        help=f"where apps connect; may be repeated; port 0 takes a free port (default {DEFAULT_LISTEN})",
    )
    flag(
        "--listen-anywhere",
        action="store_true",
        help="allow --listen beyond loopback: every client that reaches the port can send as the mailbox, "
        "without a password",
    )
    flag(
        "--secrets-dir",
        type=folder,
        metavar="DIR",
        help="a file for each key: DIR/<secret>/<key> (default: variables O365MAILER_SECRET_<SECRET>_<KEY>)",
    )
    flag("--directory", type=folder, metavar="DIR", help="keeps the token (default: a private temporary directory)")
    spool = subcommand.add_mutually_exclusive_group().add_argument
    spool(
        "--spool-dir",
        type=folder,
        metavar="DIR",
        help="keeps mail that Office 365 does not accept yet (default: ~/.local/state/o365mailer/…)",
    )
    spool("--no-spool", action="store_true", help="keep no mail: the app gets 451 for mail that cannot be sent")
    flag(
        "--health",
        default="127.0.0.1:0",
        metavar="HOST:PORT",
        help="/livez, /readyz and /metrics (default: a free port)",
    )
    flag("--grace", default="25s", metavar="DURATION", help="how long stopping waits for mail in flight (default 25s)")
    flag(
        "--https-proxy", metavar="URL", help=f"the proxy on the way to Entra (default: the variable {ENV_HTTPS_PROXY})"
    )
    return made


def _options(given: argparse.Namespace, environment: Mapping[str, str]) -> RunOptions:
    return RunOptions(
        file=given.file,
        listen=tuple(given.listen or [DEFAULT_LISTEN]),
        listen_anywhere=given.listen_anywhere,
        health=given.health,
        grace=given.grace,
        secrets_dir=given.secrets_dir,
        directory=given.directory,
        spool_dir=given.spool_dir,
        no_spool=given.no_spool,
        https_proxy=given.https_proxy or environment.get(ENV_HTTPS_PROXY) or None,
    )


if __name__ == "__main__":
    sys.exit(main())
