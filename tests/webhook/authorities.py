"""Authorities for tests, as the controller makes them."""

import base64
import datetime
from pathlib import Path

from o365mailer_operator.pki import authority

DAY = datetime.timedelta(days=1)


def now() -> datetime.datetime:
    """The wall clock."""
    return datetime.datetime.now(datetime.UTC)


def secret(lifetime: datetime.timedelta = DAY) -> dict[str, str]:
    """The data of a Secret with a fresh authority."""
    return authority.write(authority.advance(None, now=now(), lifetime=lifetime, published=False))


def write_plain(directory: Path, data: dict[str, str]) -> None:
    """The files in a directory without links, as a developer would lay them out."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in data.items():
        (directory / name).write_bytes(base64.b64decode(content))
