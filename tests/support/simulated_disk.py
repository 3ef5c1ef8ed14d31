"""A disk that loses what was not synced: every state that a crash may leave, from the operations of the real code.

`RecordingDisk` is the real file system with a list of the calls. `Crash` splits the calls up to a moment into changes
that can be lost one by one: a directory entry until its directory is synced, a file's size and each piece of a write
until the file is synced. A state is what stays when any subset of these changes is left out. Subsets stand for
reorderings too, because the later change of one entry or byte decides. A rename is one change, as on every file system
with a journal (ext4, xfs, btrfs): a crash loses or keeps it as a whole.
"""

import itertools
import os
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from o365mailer_sidecar.spool.disk import Disk

DIRECTORY = -1
"""In place of an inode where an entry names a directory."""

EXHAUSTIVE = 12
"""Unsynced changes up to which every subset is tried."""


@dataclass(frozen=True)
class Operation:
    """One call of `Disk`; paths are relative to the recorded directory."""

    kind: str
    path: str = ""
    target: str = ""
    inode: int = 0
    offset: int = 0
    pieces: tuple[bytes, ...] = ()


@dataclass
class State:
    """A directory tree: path → inode, inode → bytes."""

    entries: dict[str, int] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)

    def visible(self) -> tuple[tuple[str, bytes | None], ...]:
        """What can be reached from the top; None for a directory."""
        found: dict[str, bytes | None] = {}
        for path, inode in sorted(self.entries.items()):
            parent = path.rpartition("/")[0]
            if not parent or found.get(parent, b"") is None:
                found[path] = None if inode == DIRECTORY else self.contents.get(inode, b"")
        return tuple(found.items())

    @classmethod
    def of(cls, root: Path) -> "State":
        """A directory as it is."""
        state = cls()
        for number, path in enumerate(sorted(root.rglob("*")), start=1):
            state.entries[str(path.relative_to(root))] = DIRECTORY if path.is_dir() else number
            if path.is_file():
                state.contents[number] = path.read_bytes()
        return state


class RecordingDisk(Disk):
    """Does every call and records it, except the kind of sync that `deaf_to` names: that is done and not recorded."""

    def __init__(self, root: Path, *, deaf_to: str = "") -> None:
        self.root, self.deaf_to = root, deaf_to
        self.base = State.of(root)
        self.inodes = dict(self.base.entries)
        self.sizes = {inode: len(content) for inode, content in self.base.contents.items()}
        self.open: dict[int, tuple[str, int]] = {}
        self.operations: list[Operation] = []
        self.lock = threading.RLock()  # one operation at a time: the list is the order

    def _path(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def _did(self, kind: str, path: str = "", **more: object) -> None:
        self.operations.append(Operation(kind, path, **more))  # type: ignore[arg-type]

    def mark(self, kind: str, name: str, *pieces: bytes) -> None:
        """Record what the code under test has promised by now."""
        with self.lock:
            self._did(kind, name, pieces=pieces)

    def make_directory(self, path: str) -> None:
        with self.lock:
            super().make_directory(path)
            self.inodes[self._path(path)] = DIRECTORY
            self._did("mkdir", self._path(path), inode=DIRECTORY)

    def open_directory(self, path: str) -> int:
        with self.lock:
            descriptor = super().open_directory(path)
            self.open[descriptor] = self._path(path), DIRECTORY
            return descriptor

    def create(self, path: str) -> int:
        with self.lock:
            descriptor, inode = super().create(path), len(self.sizes) + 1_000
            self.inodes[self._path(path)], self.sizes[inode] = inode, 0
            self.open[descriptor] = self._path(path), inode
            self._did("create", self._path(path), inode=inode)
            return descriptor

    def reopen(self, path: str) -> int:
        with self.lock:
            descriptor = super().reopen(path)
            self.open[descriptor] = self._path(path), self.inodes[self._path(path)]
            return descriptor

    def write(self, file: int, pieces: Sequence[bytes | bytearray]) -> None:
        with self.lock:
            super().write(file, pieces)
            path, inode = self.open[file]
            given = tuple(bytes(piece) for piece in pieces)
            self._did("write", path, inode=inode, offset=self.sizes[inode], pieces=given)
            self.sizes[inode] += sum(map(len, given))

    def sync(self, file: int) -> None:
        with self.lock:
            super().sync(file)
            path, inode = self.open[file]
            kind = "sync directory" if inode == DIRECTORY else "sync file"
            if kind != self.deaf_to:
                self._did(kind, path, inode=inode)

    def rename(self, source: str, target: str) -> None:
        with self.lock:
            super().rename(source, target)
            inode = self.inodes[self._path(target)] = self.inodes.pop(self._path(source))
            self._did("rename", self._path(source), target=self._path(target), inode=inode)

    def remove(self, path: str) -> None:
        with self.lock:
            super().remove(path)
            del self.inodes[self._path(path)]
            self._did("remove", self._path(path))


@dataclass(frozen=True)
class Change:
    """What a crash keeps or loses as a whole."""

    entries: tuple[tuple[str, int | None], ...] = ()
    inode: int = 0
    offset: int = 0
    data: bytes = b""
    size: int = 0

    @property
    def places(self) -> set[str | int]:
        """The directories or the inode that must be synced before it is certain to be kept."""
        if self.entries:
            return {str(Path(path).parent) for path, _ in self.entries}
        return {self.inode}


def changes(operation: Operation) -> Iterator[Change]:
    """The changes of one call."""
    if operation.kind in ("mkdir", "create"):
        yield Change(entries=((operation.path, operation.inode),))
    elif operation.kind == "remove":
        yield Change(entries=((operation.path, None),))
    elif operation.kind == "rename":
        yield Change(entries=((operation.path, None), (operation.target, operation.inode)))
    elif operation.kind == "write":
        offset = operation.offset
        yield Change(inode=operation.inode, size=offset + sum(map(len, operation.pieces)))
        for piece in operation.pieces:
            half = len(piece) // 2
            for data in filter(None, (piece[:half], piece[half:])):
                yield Change(inode=operation.inode, offset=offset, data=data)
                offset += len(data)


class Crash:
    """The moment after some operations."""

    def __init__(self, base: State, operations: Sequence[Operation]) -> None:
        self.base = base
        made: list[tuple[Change, set[str | int]]] = []
        for operation in operations:
            if operation.kind.startswith("sync"):
                place: str | int = operation.path if operation.inode == DIRECTORY else operation.inode
                for _, waiting in made:
                    waiting.discard(place)
            else:
                made += [(change, change.places) for change in changes(operation)]
        self.changes = [change for change, _ in made]
        self.unsynced = [number for number, (_, waiting) in enumerate(made) if waiting]

    def states(self, dice: random.Random, *, samples: int) -> Iterator[State]:
        """All states, or if there are too many, the extremes and `samples` others."""
        for lost in self._losses(dice, samples):
            yield self._state(lost)

    def _losses(self, dice: random.Random, samples: int) -> Iterator[frozenset[int]]:
        everything = frozenset(self.unsynced)
        if len(everything) <= EXHAUSTIVE:
            for count in range(len(everything) + 1):
                yield from map(frozenset, itertools.combinations(self.unsynced, count))
            return
        yield from (frozenset(), everything)
        for one in self.unsynced:
            yield from (frozenset({one}), everything - {one})
        for _ in range(samples):
            kept = dice.random()
            yield frozenset(one for one in self.unsynced if dice.random() > kept)

    def _state(self, lost: frozenset[int]) -> State:
        entries = dict(self.base.entries)
        contents = {inode: bytearray(content) for inode, content in self.base.contents.items()}
        sizes = {inode: len(content) for inode, content in contents.items()}
        for number, change in enumerate(self.changes):
            if number in lost:
                continue
            for path, inode in change.entries:
                if inode is None:
                    entries.pop(path, None)
                else:
                    entries[path] = inode
            if change.size:
                sizes[change.inode] = max(sizes.get(change.inode, 0), change.size)
            elif change.data:
                content, end = contents.setdefault(change.inode, bytearray()), change.offset + len(change.data)
                content.extend(bytes(max(end - len(content), 0)))
                content[change.offset : end] = change.data
        whole = {
            inode: bytes(contents.get(inode, b"")[:size]).ljust(size, b"\0")  # what was lost of it reads as zeros
            for inode, size in sizes.items()
        }
        return State(entries, whole)
