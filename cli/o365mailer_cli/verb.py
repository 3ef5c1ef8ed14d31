"""The verbs of the command, as a table. A verb's module is imported only when it is used: `run` does not pay for the
Kubernetes client, nor `status` for the token modules.
"""

import argparse
import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

PROGRAM: Final = "o365mailer"


class VerbModule(Protocol):
    """What a verb's module has."""

    DESCRIPTION: str
    """One sentence or two for `--help`."""

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        """Declare the verb's flags and arguments."""

    def main(self, given: argparse.Namespace, environment: Mapping[str, str]) -> int:
        """Do it. Returns the exit status. Raises CliError."""


@dataclass(frozen=True)
class Verb:
    """One verb: its name on the command line, a short help, and the module that does it."""

    name: str
    help: str
    module_name: str

    @property
    def module(self) -> VerbModule:
        """The module, imported."""
        return cast(VerbModule, importlib.import_module(f"o365mailer_cli.{self.module_name}"))


VERBS: Final = (
    Verb("check", "look for what is wrong: the cluster, mailers, pods, the login at Office 365", "check.command"),
    Verb("status", "show mailers, their pods, and the mail that waits in them", "status.command"),
    Verb("explain", "explain why a pod or workload has a relay or none", "explain.command"),
    Verb("send-test", "send one real mail through a mailer, and say what Office 365 answered", "send_test.command"),
    Verb("refresh", "get a new token now, and wait for it", "refresh"),
    Verb("scan", "find what still logs in to Office 365 with a password", "scan.command"),
    Verb("setup", "print the script that sets up Entra and Exchange for a mailer, or undoes it", "setup.command"),
    Verb("support-bundle", "write what a helper needs into a file, without secrets", "support_bundle.command"),
    Verb("run", "keep a token fresh and relay mail on this machine, without Kubernetes", "run.command"),
    Verb("completion", "print the completion for bash, zsh or tcsh", "completion"),
)
"""In the order of `--help`: what users need first stands first."""


def parser(words: Sequence[str] | None = None, *, program: str = PROGRAM) -> argparse.ArgumentParser:
    """The verbs and their flags. Of the verbs in `words` alone if it is given, so that the others are not imported."""
    made = argparse.ArgumentParser(
        prog=program, description="Mail through Office 365: from Kubernetes, and without.", allow_abbrev=False
    )
    made.add_argument("--version", action="version", version=f"o365mailer {importlib.metadata.version('o365mailer')}")
    verbs = made.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for verb in VERBS:
        if words is None or verb.name in words:
            module = verb.module
            added = verbs.add_parser(verb.name, help=verb.help, description=module.DESCRIPTION, allow_abbrev=False)
            module.add_flags(added)
            added.set_defaults(main=module.main)
        else:
            verbs.add_parser(verb.name, help=verb.help, add_help=False)
    return made
