"""The mailer directory on this machine. All files change at once, as in a volume of the kubelet.

The files are in a subdirectory with the time in its name. `..data` is a symbolic link to it, which a rename replaces.
The names that readers use are links through `..data` (Kubernetes, pkg/volume/util/atomic_writer.go).
"""

import contextlib
import datetime
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from o365mailer_cli.errors import WrongInput
from o365mailer_contract import settings
from o365mailer_contract.names import DATA_LINK, SETTINGS_FILE

VERSION: Final = re.compile(r"\.\.\d{4}(_\d\d){5}\..+")
"""The name of a subdirectory with one version of the files, as `replace` and the kubelet choose it."""

PRIVATE_FILE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700


class SwappedDirectory:
    """A directory whose files are replaced together. Only the owner can read them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def revision(self) -> int:
        """The revision of the settings in it; 0 if there are none."""
        try:
            return settings.decode((self.path / SETTINGS_FILE).read_bytes()).revision
        except (OSError, settings.InvalidSettings):
            return 0

    def replace(self, files: Mapping[str, bytes], *, now: datetime.datetime) -> None:
        """Replace all files by `files`. Raises OSError; then the old files stay in use."""
        fresh = Path(tempfile.mkdtemp(prefix=f"..{now:%Y_%m_%d_%H_%M_%S}.", dir=self.path))
        try:
            for name, content in files.items():
                with open(fresh / name, "xb", opener=_private) as file:
                    file.write(content)
            self._link(DATA_LINK, fresh.name)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        for name in files:
            if not (self.path / name).is_symlink():
                self._link(name, f"{DATA_LINK}/{name}")
        self._sweep(files, version=fresh.name)

    def _link(self, name: str, target: str) -> None:
        temporary = self.path / f"{DATA_LINK}_tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(self.path / name)

    def _sweep(self, files: Mapping[str, bytes], *, version: str) -> None:
        """Remove links to missing files and all other versions, also those of a run that was killed."""
        for entry in self.path.iterdir():
            if entry.is_symlink():
                if str(entry.readlink()).startswith(f"{DATA_LINK}/") and entry.name not in files:
                    entry.unlink()
            elif VERSION.fullmatch(entry.name) and entry.name != version:
                shutil.rmtree(entry, ignore_errors=True)


@contextlib.contextmanager
def temporary_directory() -> Iterator[SwappedDirectory]:
    """A private directory that is removed afterwards. Raises WrongInput if none can be created."""
    try:
        made = tempfile.TemporaryDirectory(prefix="o365mailer-", ignore_cleanup_errors=True)
    except OSError as error:
        raise WrongInput(
            f"--directory: no temporary directory can be made for the token: {error.strerror}. "
            "Name a directory that can be written, with --directory or in TMPDIR."
        ) from None
    with made as path:
        yield SwappedDirectory(Path(path))


@contextlib.contextmanager
def kept_directory(path: Path) -> Iterator[SwappedDirectory]:
    """The user's directory, created if necessary and locked meanwhile. Raises WrongInput."""
    try:
        path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise WrongInput(f"--directory {path}: {error.strerror}. Name a directory that can be written.") from None
    try:
        _lock(descriptor, path)
        if not os.access(path, os.W_OK | os.X_OK):
            raise WrongInput(f"--directory {path}: cannot be written. Name a directory that can be written.")
        yield SwappedDirectory(path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WrongInput(f"--directory {path}: another `o365mailer run` uses it. Name another directory.") from None
    except OSError as error:  # a network file system without locks
        raise WrongInput(f"--directory {path}: cannot be locked: {error.strerror}. Name another directory.") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE_FILE)
