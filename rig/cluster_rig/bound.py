"""A cluster as a context manager: it comes up bound to this process, and ends with the block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Bound(ABC):
    """What can come up and go down; `with` does both."""

    @abstractmethod
    def up(self, *, bound: bool = False) -> None:
        """Starts it or finds it running; bound, it ends with the calling process."""

    @abstractmethod
    def down(self) -> None:
        """Ends the cluster and removes every trace of it."""

    def __enter__(self) -> Self:
        self.up(bound=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
