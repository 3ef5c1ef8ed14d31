"""A program that the demo starts, and the lines that it prints."""

import queue
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

STOP_WITHIN: Final = 10.0


class Failed(Exception):
    """The demo did not show what it promises. The text says what was missing."""


class Program:
    """One process. The demo reads its standard output line by line; its standard error goes to `log`."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path) -> None:
        self.name = name
        self.log = log
        self.heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with log.open("wb") as errors:
            # In a session of its own: a Ctrl-C reaches the demo, which then stops its programs in order.
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - it was asked for above
        for line in self.process.stdout:
            self.heard.put(line.strip())
        self.heard.put(None)

    def hear(self, beginning: str, *, within: float) -> str:
        """The next line that begins with `beginning`. Raises Failed."""
        deadline = time.monotonic() + within
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self.heard.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                raise Failed(f"{self.name} ended: {self.last_words()}")
            if line.startswith(beginning):
                return line
        raise Failed(f"{self.name} did not say {beginning!r} within {within:g} s: {self.last_words()}")

    def forget(self) -> None:
        """Drop the lines so far: the next `hear` waits for a new one."""
        while not self.heard.empty():
            if self.heard.get() is None:
                self.heard.put(None)
                return

    def last_words(self) -> str:
        """The last lines of its standard error."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:]) or "no message"

    def stop(self) -> None:
        """Stop it, and wait until it has ended."""
        self.process.terminate()
        try:
            self.process.wait(timeout=STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
