"""The verbs of the command, as a table. A verb's module is imported only when it is used: `run` does not pay for the
Kubernetes client, nor `status` for the token modules.
"""

import argparse
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, cast


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
    Verb("status", "show mailers, their pods, and the mail that waits in them", "status.command"),
    Verb("run", "keep a token fresh and relay mail on this machine, without Kubernetes", "run.command"),
)
"""In the order of `--help`: what users need first stands first."""
