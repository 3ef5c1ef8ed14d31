"""The verb `run`: its flags.

Exit status: 0 after SIGINT or SIGTERM; 2 for a flag, a file or a Secret that cannot be used; 1 if the relay could not
start or ended by itself.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import Final

from o365mailer_cli.flags import ENV_HTTPS_PROXY, FILE, FOLDER, folder
from o365mailer_cli.output import finish
from o365mailer_cli.run.run import RunOptions, run

DEFAULT_LISTEN: Final = "127.0.0.1:2525"
DESCRIPTION: Final = "Keep the token of one O365Mailer fresh, and relay mail on loopback with it, until Ctrl-C."


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    flag = parser.add_argument
    flag(
        "-f", "--file", required=True, metavar="FILE", help="the O365Mailer, YAML or JSON; - for standard input"
    ).complete = FILE  # type: ignore[attr-defined]  # shtab's own attribute
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
    folders = [
        flag(
            "--secrets-dir",
            type=folder,
            metavar="DIR",
            help="a file for each key: DIR/<secret>/<key> (default: variables O365MAILER_SECRET_<SECRET>_<KEY>)",
        ),
        flag(
            "--directory", type=folder, metavar="DIR", help="keeps the token (default: a private temporary directory)"
        ),
    ]
    spool = parser.add_mutually_exclusive_group().add_argument
    folders.append(
        spool(
            "--spool-dir",
            type=folder,
            metavar="DIR",
            help="keeps mail that Office 365 does not accept yet (default: ~/.local/state/o365mailer/…)",
        )
    )
    for action in folders:
        action.complete = FOLDER  # type: ignore[attr-defined]  # shtab's own attribute
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


def main(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run until a signal. Raises CliError."""
    try:
        run(_options(given, environment), environment=environment)
    except KeyboardInterrupt:  # Ctrl-C before the relay is started
        return 0
    finally:
        finish(sys.stdout)  # the run relays mail even if its output cannot be written, and that is no failure of it
    return 0


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
