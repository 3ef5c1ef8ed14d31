"""The mailer's file: one O365Mailer document as YAML or JSON."""

import sys
from pathlib import Path
from typing import Any, Final

import yaml

from o365mailer_cli.errors import WrongFile
from o365mailer_operator.token.document import Mailer, decode_document
from o365mailer_operator.token.errors import InvalidSpec

STANDARD_INPUT: Final = "-"
LARGEST_FILE: Final = 2**20
"""Octets; what a Kubernetes object may have at most."""


def load_mailer(name: str) -> Mailer:
    """The mailer in the file `name`, or on standard input for `-`.

    Raises WrongFile, whose text names the file and the line and column, or the member that is wrong.
    """
    shown = "standard input" if name == STANDARD_INPUT else name
    document = _parsed(_octets(name, shown), shown)
    try:
        mailer = decode_document(document)
    except InvalidSpec as error:
        raise WrongFile(f"{shown}: {error}") from None
    if mailer.spec.suspend:
        raise WrongFile(
            f"{shown}: spec.suspend: is true, so there is nothing to run. Set it to false, or leave it out."
        )
    return mailer


def _octets(name: str, shown: str) -> bytes:
    try:
        if name == STANDARD_INPUT:
            octets = sys.stdin.buffer.read(LARGEST_FILE + 1)
        else:
            with Path(name).open("rb") as file:
                octets = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise WrongFile(
            f"{shown}: there is no such file. Write an O365Mailer into it (docs/run.md has one to start from)."
        ) from None
    except OSError as error:
        raise WrongFile(f"{shown}: cannot be read: {error.strerror}.") from None
    if len(octets) > LARGEST_FILE:
        raise WrongFile(f"{shown}: is larger than 1 MiB; that is no O365Mailer.")
    return octets


def _parsed(octets: bytes, shown: str) -> Any:
    try:
        documents = [document for document in yaml.safe_load_all(octets.decode()) if document is not None]
    except UnicodeDecodeError:
        raise WrongFile(f"{shown}: is not UTF-8 text.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise WrongFile(f"{shown}: {where}{error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise WrongFile(f"{shown}: is no YAML: {str(error).splitlines()[0]}.") from None
    if len(documents) != 1:
        found = f"{len(documents)} documents" if documents else "nothing"
        raise WrongFile(f"{shown}: holds {found}; expected one O365Mailer.")
    return documents[0]
