"""A relay's process that hangs when a test says so, and whose watchdog ends it after seconds instead of a minute.

Nothing of the relay is replaced: the interpreter runs `sitecustomize` before it, in the same process.
"""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

HANG = signal.SIGUSR1
"""Makes the event loop hang for good."""

CUSTOMIZE = """\
import re, signal, threading, time
from o365mailer_sidecar import watchdog
watchdog.watch.__defaults__ = ({limit},)
def the_hang(*_):
    {statement}
signal.signal({signal}, the_hang)
"""


def environment(folder: Path, *, limit: float, statement: str) -> Mapping[str, str]:
    """The environment of such a process: it hangs in this statement, its watchdog waits `limit` seconds."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CUSTOMIZE.format(limit=limit, statement=statement, signal=int(HANG)))
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
