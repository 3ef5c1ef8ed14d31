"""Empty files whose directory entries are on disk already: a message then costs one fsync, its own.

An entry is durable only after an fsync of its directory, which costs as much as that of the file. So entries are made
before they are needed, 32 with one fsync, under names that are no queue id. A message is written into one, synced, and
then renamed: whether a crash comes before or after the rename, the next start finds it whole under one of both names.
Concurrent stores share an fsync of the directory in the same way.

Rejected: an fsync of the directory for each message (a quarter of the messages a second with one client, measured on
ext4), and syncfs, which writes everybody else's data too.
"""

import os
import threading
from collections import deque
from contextlib import suppress
from typing import Final, NamedTuple

from o365mailer_sidecar.spool.durable import Disk

PREFIX: Final = ".spare."
"""What stands under such a name is a message only if it is whole."""

BATCH: Final = 32
"""Entries made at once."""


class Spare(NamedTuple):
    """An empty file that will be found after a crash."""

    path: str
    file: int


class Spares:
    """Hands them out, to any thread."""

    def __init__(self, *, disk: Disk, directory: str) -> None:
        self.disk, self.directory, self.descriptor = disk, directory, disk.open_directory(directory)
        self.ready: deque[Spare] = deque()
        self.turn = threading.Lock()
        # A name is never used twice, not even after a restart: a crash may bring back an entry that was removed.
        self.series, self.made = os.urandom(6).hex(), 0

    def take(self) -> Spare:
        """One of them; makes more when there is none. Raises OSError."""
        while True:
            try:
                return self.ready.popleft()
            except IndexError:
                pass
            with self.turn:
                if not self.ready:
                    self._make()

    def _make(self) -> None:
        fresh: list[Spare] = []
        try:
            for _ in range(BATCH):
                self.made += 1
                path = f"{self.directory}/{PREFIX}{self.series}.{self.made}"
                fresh.append(Spare(path, self.disk.create(path)))
        except OSError:
            if not fresh:
                raise  # a few are as good as many, and the disk may have room for no more
        try:
            # After a failure it is synced again for others: what is promised then are entries made since.
            self.disk.sync(self.descriptor)
        except OSError:
            for spare in fresh:
                self.discard(spare)
            raise
        self.ready.extend(fresh)

    def discard(self, spare: Spare) -> None:
        """Remove it, whatever it holds. A disk that cannot even do that has said so before."""
        with suppress(OSError):
            self.disk.close(spare.file)
        with suppress(OSError):
            self.disk.remove(spare.path)

    def close(self) -> None:
        """Leave none behind."""
        while self.ready:
            self.discard(self.ready.popleft())
        self.disk.close(self.descriptor)
