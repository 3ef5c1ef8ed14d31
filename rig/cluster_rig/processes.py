"""The processes of a cluster: each writes its own log, and none outlives the process that started it."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster_rig.errors import MachineLacksError, StartError

POLL_SECONDS = 0.1


def bound_to_parent() -> list[str]:
    """A command prefix: the kernel kills the program when the starting thread ends, however it ends (prctl(2)).

    Raises:
        MachineLacksError: there is no util-linux `setpriv`.
    """
    setpriv = shutil.which("setpriv")
    if not setpriv:
        raise MachineLacksError(
            "`setpriv` is missing (util-linux ≥2.33): without it a killed test leaves servers running"
        )
    return [setpriv, "--pdeathsig", "KILL", "--"]


@dataclass(kw_only=True)
class Processes:
    """A set of running programs with a log directory. `stop` kills them all; so does the end of the starting thread."""

    logs: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str | Path], environ: Mapping[str, str] | None = None) -> None:
        """Starts a program whose output goes to `NAME.log`; a running one of that name must have been stopped."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*bound_to_parent(), *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ
            )

    def wait(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        """Returns when `ready` says so.

        Raises:
            StartError: the process died or the time is over; the text ends with its log's last lines.
        """
        process = self.running[name]
        deadline = time.monotonic() + seconds
        while not ready():
            if process.poll() is not None:
                raise StartError(f"{name} ended with {process.returncode}:\n{self.last_lines(name)}")
            if time.monotonic() > deadline:
                raise StartError(f"{name} was not ready within {seconds:.0f} s:\n{self.last_lines(name)}")
            time.sleep(POLL_SECONDS)

    def last_lines(self, name: str, count: int = 15) -> str:
        """The last lines of a program's log."""
        path = self.logs / f"{name}.log"
        lines = path.read_text(errors="replace").splitlines()[-count:] if path.exists() else []
        return "\n".join([f"({path})", *lines])

    def stop(self, *names: str) -> None:
        """Kills the named programs, or all, and waits for their end. Nothing here has state worth a clean shutdown."""
        chosen = [self.running.pop(name) for name in names or tuple(self.running)]
        for process in chosen:
            process.kill()
        for process in chosen:
            process.wait()
