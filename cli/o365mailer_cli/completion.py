"""The verb `completion`: prints what makes a shell complete the command (shtab)."""

import argparse
from collections.abc import Mapping
from typing import Final

DESCRIPTION: Final = (
    "Print the completion for a shell. bash: source <(o365mailer completion bash). zsh: o365mailer completion zsh > "
    "a directory of your $fpath/_o365mailer. tcsh: o365mailer completion tcsh > ~/.o365mailer.tcsh, and source that."
)
SHELLS: Final = ("bash", "zsh", "tcsh")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("shell", choices=SHELLS, help="the shell")


def main(given: argparse.Namespace, environment: Mapping[str, str]) -> int:  # noqa: ARG001 - as every verb's
    """Print it."""
    import shtab

    from o365mailer_cli.verb import parser

    print(shtab.complete(parser(), given.shell))
    return 0
