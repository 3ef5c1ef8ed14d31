"""`python -m benchmarks.command`: how long `o365mailer status -A` and `check -A` take on 20 mailers and 100 pods.

On a real API server, whose pod proxy reaches ten real relays: ten pods share each, and every pod is asked. Each run is
a process of its own, as a user starts it. Its processor time says what of it was the command's own work, where the
machine is busy. It measures on this machine and writes nothing.
"""

import contextlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "rig"), str(ROOT / "tests")]

from cluster_rig.control_plane import ControlPlane  # noqa: E402  # the path comes first
from command.team import Team, own_address  # noqa: E402
from support.emulator_client import EmulatorClient  # noqa: E402
from support.sidecar_process import MailerDirectory, Sidecar  # noqa: E402

from o365mailer_cli.verb import VERBS  # noqa: E402

MAILERS: Final = 20
PODS: Final = 100
RELAYS: Final = 10
RUNS: Final = 5
ASKED: Final = (("status", "-A"), ("status", "-A", "-o", "json"), ("check", "-A"))


def main() -> int:
    """Measure, and print a line for each command."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="o365mailer-bench-")))
        plane = stack.enter_context(ControlPlane(directory=folder / "plane"))
        emulator = stack.enter_context(EmulatorClient())
        addresses = [start_relay(stack, emulator, folder / f"mailer-{number}") for number in range(RELAYS)]
        fill(plane, addresses)
        for arguments in ASKED:
            if arguments[0] in {verb.name for verb in VERBS}:
                times = [timed(plane, arguments) for _ in range(RUNS)]
                took, used = (statistics.median(column) for column in zip(*times, strict=True))
                print(f"{' '.join(arguments)}: median of {RUNS} runs {took:.2f} s, of these {used:.2f} s of processor")
    return 0


def start_relay(stack: contextlib.ExitStack, emulator: EmulatorClient, directory: Path) -> tuple[str, int]:
    """Where the metrics of a relay are that has a mailer and a token."""
    mailer = MailerDirectory(directory)
    mailer.write_for(emulator)
    process = stack.enter_context(Sidecar(mailer.path, arguments=["--health", f"{own_address()}:0"]))
    process.event("mailer_read")
    return own_address(), process.health_port


def fill(plane: ControlPlane, addresses: list[tuple[str, int]]) -> None:
    """Mailers in namespaces of their own, and their pods."""
    plane.kubectl("apply", "--server-side", "-f", ROOT / "crds" / "o365mailers.yaml")
    plane.kubectl("wait", "--for=condition=Established", "crd/o365mailers.o365mailer.dev")
    for number in range(MAILERS):
        namespace = f"team-{number}"
        plane.kubectl("create", "namespace", namespace)
        plane.kubectl("wait", "--for=create", "serviceaccount/default", "-n", namespace, "--timeout=30s")
        team = Team(plane, namespace)
        team.mailer()
        for pod in range(PODS // MAILERS):
            team.pod(f"app-{pod}", address=addresses[(number + pod) % RELAYS])


def timed(plane: ControlPlane, arguments: tuple[str, ...]) -> tuple[float, float]:
    """Seconds of one run: until its end, and of processor time."""
    command = [sys.executable, "-m", "o365mailer_cli.main", *arguments, "--kubeconfig", str(plane.kubeconfig)]
    began, used = time.monotonic(), processor()
    done = subprocess.run(command, capture_output=True, text=True)
    took, cpu = time.monotonic() - began, processor() - used
    if "json" in arguments:
        known = sum(each["pods"]["known"] for each in json.loads(done.stdout)["mailers"])
        assert known == PODS, f"{known} of {PODS} pods answered"
    return round(took, 2), round(cpu, 2)


def processor() -> float:
    """Processor time of the processes that have ended, in seconds."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


if __name__ == "__main__":
    sys.exit(main())
