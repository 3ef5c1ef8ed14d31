"""`check -f`: the mailer in a file, and where its Secrets are on this machine. As `o365mailer run` reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from o365mailer_cli.check.applicant import Applicant, from_document
from o365mailer_cli.mailer_file import load_mailer
from o365mailer_cli.object_source import source_of


@dataclass(frozen=True)
class FileAsked:
    """A mailer's file, and the directory of its Secrets (None: the environment has them)."""

    file: str
    secrets_dir: Path | None


def applicant_of(asked: FileAsked, environment: Mapping[str, str]) -> Applicant:
    """The applicant that the file describes. Raises WrongFile."""
    mailer = load_mailer(asked.file)
    return from_document(mailer, source_of(mailer.spec, directory=asked.secrets_dir, environment=environment))
