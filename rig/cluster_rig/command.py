"""The verbs of `python -m cluster_rig`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster_rig import cache, images, modules, other_python, programs, releases, requirements, toolchain, tryout
from cluster_rig.choice import choose
from cluster_rig.control_plane import ControlPlane
from cluster_rig.errors import BuildError, MachineLacksError, RigError
from cluster_rig.node import DEFAULT_NAME

BY_NAME = {program.name: program for program in programs.ALL}

EXIT_FAILED = 1
EXIT_LACKS = 3
"""The machine cannot do it; told apart from a failure so that a script can name it and go on."""


def parser() -> argparse.ArgumentParser:
    """The command line; each verb's `run` is called with its arguments."""
    top = argparse.ArgumentParser(prog="python -m cluster_rig", description=__doc__)
    verbs = top.add_subparsers(required=True, metavar="VERB")
    build = verbs.add_parser("build", help="build the cluster's programs into the cache; prints where they are")
    build.add_argument("names", nargs="*", metavar="NAME", help="only these programs")
    build.add_argument("--control-plane", action="store_true", help="only what the tests without a node need")
    build.add_argument("--everything", action="store_true", help="all that `make test` needs")
    build.set_defaults(run=run_build)
    path = verbs.add_parser("path", help="print where a built program is")
    path.add_argument("name", choices=sorted(BY_NAME))
    path.set_defaults(run=run_path)
    setup = verbs.add_parser("setup-node", help="install the Debian packages that the node needs (root)")
    setup.set_defaults(run=run_setup)
    for verb, run, text in (
        ("up", run_up, "bring a cluster with a node up (root); prints its kubeconfig's path"),
        ("down", run_down, "end it and remove every trace"),
        ("status", run_status, "say whether it runs"),
        ("try", run_try, "a cluster with the product, the emulator and an example app in it; prints what to type next"),
    ):
        cluster = verbs.add_parser(verb, help=text)
        cluster.add_argument("--name", default=DEFAULT_NAME, help="one of several clusters on this machine")
        cluster.set_defaults(run=run)
    verbs.add_parser("images", help="build the project's images; prints their archives").set_defaults(run=run_images)
    load = verbs.add_parser("load", help="import image archives into the cluster")
    load.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE")
    load.add_argument("--name", default=DEFAULT_NAME)
    load.set_defaults(run=run_load)
    python = verbs.add_parser("python", help="run a module, such as pytest, with the published images' Python (root)")
    python.add_argument("module", metavar="MODULE")
    python.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENT")
    python.set_defaults(run=run_python)
    pin = verbs.add_parser("pin", help="write the checksums of the published Go modules anew (go/upstream/go.sum)")
    pin.set_defaults(run=run_pin)
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
    """`build [--control-plane | --everything] [NAME…]`: one `NAME PATH` line for each program on stdout."""
    if unknown := set(chosen.names) - set(BY_NAME):
        raise BuildError(f"no such program: {', '.join(sorted(unknown))} (there are {', '.join(sorted(BY_NAME))})")
    if chosen.everything:
        build_everything()
        return
    release = releases.chosen()
    all_of_them = programs.CONTROL_PLANE if chosen.control_plane else programs.of_node(release)
    for name, path in programs.build([BY_NAME[name] for name in chosen.names] or all_of_them, release).items():
        print(name, path)


def build_everything() -> None:
    """What `make test` needs, in the order in which it asks: the newest release, images, the oldest release."""
    programs.build(programs.of_node(releases.NEWEST), releases.NEWEST)
    images.build()
    images.python_image()
    programs.build(programs.of_node(releases.OLDEST), releases.OLDEST)
    other_python.build()


def run_python(chosen: argparse.Namespace) -> None:
    """`python MODULE ARGUMENT…`: ends with the module's own exit status."""
    sys.exit(other_python.build().run("-m", chosen.module, *chosen.arguments))


def run_pin(_: argparse.Namespace) -> None:
    """`pin`: after a change of the table of releases."""
    modules.pin(toolchain.find())


def run_path(chosen: argparse.Namespace) -> None:
    """`path NAME`: the program's path on stdout, built first if it is not there."""
    print(programs.build([BY_NAME[chosen.name]])[chosen.name])


def run_setup(_: argparse.Namespace) -> None:
    """`setup-node`: says what it installs."""
    requirements.install()


def run_load(chosen: argparse.Namespace) -> None:
    """`load ARCHIVE…`: the images' names are in the archives."""
    choose(chosen.name).load(*chosen.archives)


def run_up(chosen: argparse.Namespace) -> None:
    """`up`: finds or starts the cluster."""
    cluster = choose(chosen.name)
    with cache.timed(f"cluster {chosen.name}"):
        cluster.up()
    print(cluster.kubeconfig)


def run_down(chosen: argparse.Namespace) -> None:
    """`down`: silent when there was none."""
    choose(chosen.name).down()


def run_status(chosen: argparse.Namespace) -> None:
    """`status`: `running` with the kubeconfig's path, or `not running`."""
    cluster = choose(chosen.name)
    print(f"running {cluster.kubeconfig}" if cluster.is_running() else "not running")


def run_try(chosen: argparse.Namespace) -> None:
    """`try`: says what to type once a mail has arrived."""
    print(tryout.run(choose(chosen.name)))


def run_images(_: argparse.Namespace) -> None:
    """`images`: one `NAME ARCHIVE` line for each on stdout."""
    for name, archive in images.build().items():
        print(name, archive)


def run_control_plane(chosen: argparse.Namespace) -> None:
    """`control-plane up --dir D`: ready when it has printed the kubeconfig's path on stdout; runs until stopped."""
    with ControlPlane(directory=chosen.dir) as plane:
        print(plane.kubeconfig, flush=True)
        cache.say(f"ready: export KUBECONFIG={plane.kubeconfig}; Ctrl-C ends it")
        signal.pause()
