"""How many functions and modules of the sidecar one small mail runs through: what a reader has to follow."""

import json
import subprocess
import sys

from benchmarks.rig import Rig
from benchmarks.table import SIDECAR


def measure(rig: Rig) -> None:
    """The counts are the same on every machine."""
    with rig.sink() as sink:
        command = [sys.executable, "-m", "benchmarks.calls", str(rig.mailer(sink.port))]
        ended = subprocess.run(command, capture_output=True, check=True, timeout=60)
    for what, number in json.loads(ended.stdout).items():
        rig.results.add(f"one mail: {what}", SIDECAR, number)
