"""The mailer directory on this machine, swapped the way kubelet swaps a volume: all files change at once.

The files are in a directory of their own, with the time in its name; `..data` is a symbolic link to it that is
replaced by a rename; the names that readers use are links through it (Kubernetes, pkg/volume/util/atomic_writer.go).
"""

import contextlib
import datetime
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from o365mailer_cli.errors import WrongInput
from o365mailer_contract import settings
from o365mailer_contract.names import DATA_LINK, SETTINGS_FILE

PRIVATE_FILE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700


class SwappedDirectory:
    """A directory whose files are replaced together. Only its owner can read them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def revision(self) -> int:
        """The revision of the settings that are in it; 0 where there are none."""
        try:
            return settings.decode((self.path / SETTINGS_FILE).read_bytes()).revision
        except (OSError, settings.InvalidSettings):
            return 0

    def replace(self, files: Mapping[str, bytes], *, now: datetime.datetime) -> None:
        """Put `files` in place of all that is there. Raises OSError."""
        old = self._target()
        fresh = Path(tempfile.mkdtemp(prefix=f"..{now:%Y_%m_%d_%H_%M_%S}.", dir=self.path))
        for name, content in files.items():
            with open(fresh / name, "xb", opener=_private) as file:
                file.write(content)
        self._link(DATA_LINK, fresh.name)
        for name in files:
            if not (self.path / name).is_symlink():
                self._link(name, f"{DATA_LINK}/{name}")
        self._sweep(files)
        if old is not None and old != fresh:
            shutil.rmtree(old, ignore_errors=True)

    def _target(self) -> Path | None:
        link = self.path / DATA_LINK
        return self.path / link.readlink().name if link.is_symlink() else None

    def _link(self, name: str, target: str) -> None:
        beside = self.path / f"{DATA_LINK}_tmp"
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        beside.replace(self.path / name)

    def _sweep(self, files: Mapping[str, bytes]) -> None:
        """Links to files that are no longer there."""
        for entry in self.path.iterdir():
            gone = entry.is_symlink() and str(entry.readlink()).startswith(f"{DATA_LINK}/") and entry.name not in files
            if gone:
                entry.unlink()


@contextlib.contextmanager
def temporary_directory() -> Iterator[SwappedDirectory]:
    """A private directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="o365mailer-") as path:
        yield SwappedDirectory(Path(path))


@contextlib.contextmanager
def kept_directory(path: Path) -> Iterator[SwappedDirectory]:
    """The user's directory, made if need be, and ours alone meanwhile. Raises WrongInput."""
    try:
        path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise WrongInput(f"--directory {path}: {error.strerror}. Name a directory that can be written.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield SwappedDirectory(path)
    except BlockingIOError:
        raise WrongInput(f"--directory {path}: another `o365mailer run` uses it. Name another directory.") from None
    finally:
        os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE_FILE)
