"""Where everything that is built or downloaded is kept: a directory of the user's, outside the repository."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cluster_rig.errors import MachineLacksError


def directory(environ: Mapping[str, str] = os.environ) -> Path:
    """`$O365MAILER_CACHE`, else `o365mailer` in the XDG cache directory; made if missing.

    Raises:
        MachineLacksError: it cannot be written.
    """
    chosen = environ.get("O365MAILER_CACHE")
    xdg = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = Path(chosen) if chosen else xdg / "o365mailer"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"the cache directory {path} cannot be made ({error}): set O365MAILER_CACHE to one you may write"
        raise MachineLacksError(text) from error
    return path.absolute()


def fingerprint(parts: Iterable[bytes]) -> str:
    """Twelve hex digits that change when any of the parts or their order does."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on the file; waits, and says so, while another run holds it. Ends with the process."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run holds {path.name}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """One line of progress on stderr, never on stdout: that is for what a script reads."""
    print(f"cluster: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Says what begins, and how long it took once it is done."""
    say(f"{what} …")
    began = time.monotonic()
    yield
    say(f"{what}: done in {time.monotonic() - began:.0f} s")
