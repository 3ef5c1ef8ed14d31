"""The verbs of `python tests/cluster/rig`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster_rig import cache, programs
from cluster_rig.control_plane import ControlPlane
from cluster_rig.errors import MachineLacksError, RigError

EXIT_FAILED = 1
EXIT_LACKS = 3
"""The machine cannot do it; told apart from a failure so that a script can name it and go on."""


def parser() -> argparse.ArgumentParser:
    """The command line; each verb's `run` is called with its arguments."""
    top = argparse.ArgumentParser(prog="python tests/cluster/rig", description=__doc__)
    verbs = top.add_subparsers(required=True, metavar="VERB")
    build = verbs.add_parser("build", help="build the cluster's programs into the cache; prints where they are")
    build.add_argument("--control-plane", action="store_true", help="only what the tests without a node need")
    build.set_defaults(run=run_build)
    plane = verbs.add_parser("control-plane", help="run a control plane until Ctrl-C")
    plane.add_argument("up", choices=["up"])
    plane.add_argument("--dir", type=Path, required=True, help="for its certificates, data and logs")
    plane.set_defaults(run=run_control_plane)
    return top


def main(arguments: Sequence[str]) -> int:
    """Runs one verb and returns the exit code: 0, 1 for a failure, 3 for what this machine lacks, 130 for Ctrl-C."""
    chosen = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        chosen.run(chosen)
    except RigError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return EXIT_LACKS if isinstance(error, MachineLacksError) else EXIT_FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def run_build(chosen: argparse.Namespace) -> None:
    """`build [--control-plane]`: one `NAME PATH` line for each program on stdout."""
    built = programs.build(programs.CONTROL_PLANE if chosen.control_plane else programs.NODE)
    for name, path in built.items():
        print(name, path)


def run_control_plane(chosen: argparse.Namespace) -> None:
    """`control-plane up --dir D`: ready when it has printed the kubeconfig's path on stdout; runs until stopped."""
    with ControlPlane(directory=chosen.dir) as plane:
        print(plane.kubeconfig, flush=True)
        cache.say(f"ready: export KUBECONFIG={plane.kubeconfig}; Ctrl-C ends it")
        signal.pause()
