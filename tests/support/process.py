"""A program as a process: started, listened to line by line, stopped."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self, TypeVar

Found = TypeVar("Found")

WITHIN = 30.0
"""Seconds for what should take one or two; the machine may be busy."""


class Process:
    """A running program. As a context manager it is killed at the end unless it has ended.

    `said` has the lines of its standard output so far, `errors` those of its standard error, and `log` those of them
    that are JSON, decoded.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        stdin: str | None = None,
    ) -> None:
        """`stdin` is written and its end follows; None leaves the standard input open until this process dies."""
        self.said: list[str] = []
        self.errors: list[str] = []
        self.log: list[dict[str, Any]] = []
        self.news = threading.Condition()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            text=True,
            errors="replace",
        )
        assert self.process.stdin
        assert self.process.stdout
        assert self.process.stderr
        if stdin is not None:
            self.process.stdin.write(stdin)
            self.process.stdin.close()
        pairs = (self.process.stdout, self.said), (self.process.stderr, self.errors)
        self.listeners = [threading.Thread(target=self._listen, args=pair, daemon=True) for pair in pairs]
        for listener in self.listeners:
            listener.start()

    def _listen(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            with self.news:
                lines.append(line.rstrip("\n"))
                # One that was killed may leave half a line.
                if lines is self.errors and line.startswith("{") and line.endswith("\n"):
                    self.log.append(json.loads(line))
                self.news.notify_all()

    def hear(self, look: Callable[[], Found | None], what: str, *, within: float = WITHIN) -> Found:
        """The first answer that is true; `look` is asked again after each line.

        AssertionError with all that the program has said, after `within` seconds or when it has ended.
        """
        deadline = time.monotonic() + within
        with self.news:
            while not (found := look()):
                said = "\n".join([*self.said, *self.errors])
                assert any(listener.is_alive() for listener in self.listeners), f"ended without {what}: {said}"
                assert time.monotonic() < deadline, f"not within {within:g} s: {what}: {said}"
                self.news.wait(0.2)  # no line announces that it has ended
        return found

    def line(self, beginning: str) -> str:
        """The first line of its standard output that begins so, waited for."""
        return self.hear(lambda: next((line for line in self.said if line.startswith(beginning)), None), beginning)

    def stderr(self) -> str:
        """The program's standard error so far."""
        return "".join(f"{line}\n" for line in self.errors)

    def stop(self, number: int = signal.SIGTERM, *, within: float = WITHIN) -> int:
        """Sends the signal, unless it has ended; the exit status."""
        self.process.send_signal(number)
        return self.ended(within=within)

    def kill(self) -> int:
        """kill -9; the exit status."""
        return self.stop(signal.SIGKILL)

    def ended(self, *, within: float = WITHIN) -> int:
        """The exit status, waited for; all that it said has been read. One that does not end is killed."""
        try:
            status = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        for listener in self.listeners:
            listener.join(10)  # a child may hold its output
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
