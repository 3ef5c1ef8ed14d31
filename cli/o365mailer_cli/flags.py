"""Flags that several verbs have, and how their values are read."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from o365mailer_cli.output import JSON, TEXT
from o365mailer_contract.quantities import InvalidQuantity, seconds

REQUEST_TIMEOUT: Final = "10s"
ENV_HTTPS_PROXY: Final = "O365MAILER_HTTPS_PROXY"
"""The proxy on the way to Entra, for `run` and `check`. HTTPS_PROXY is for the way to the API server."""


def cluster_flags(parser: argparse.ArgumentParser, *, all_namespaces: bool = False) -> None:
    """The flags of every verb that talks to a cluster. With `all_namespaces`, `-A` too."""
    group = parser.add_argument_group("the cluster")
    group.add_argument(
        "--kubeconfig", metavar="FILE", help="the kubeconfig (default: KUBECONFIG, then ~/.kube/config)"
    ).complete = FILE  # type: ignore[attr-defined]  # shtab's own attribute
    group.add_argument("--context", metavar="NAME", help="the kubeconfig's context (default: its current one)")
    where = group.add_mutually_exclusive_group() if all_namespaces else group
    where.add_argument(
        "-n", "--namespace", type=name, metavar="NAME", help="the namespace (default: the context's, or default)"
    )
    if all_namespaces:
        where.add_argument("-A", "--all-namespaces", action="store_true", help="look into every namespace")
    group.add_argument(
        "--request-timeout",
        type=duration,
        default=REQUEST_TIMEOUT,
        metavar="DURATION",
        help=f"how long one request to the API server may take (default {REQUEST_TIMEOUT})",
    )


def output_flag(parser: argparse.ArgumentParser) -> None:
    """`-o json`."""
    parser.add_argument(
        "-o", "--output", choices=(TEXT, JSON), default=TEXT, help=f"how to print the result (default {TEXT})"
    )


FILE: Final = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
FOLDER: Final = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}
"""What a shell completes an argument with (shtab)."""


def duration(text: str) -> float:
    """`10s` → 10.0. Raises ArgumentTypeError, also for no time at all."""
    return _read(text, seconds) or _raise(f"{text!r} is no time at all; give one such as 10s or 2m")


def name(text: str) -> str:
    """A name that is not empty. Raises ArgumentTypeError."""
    return text or _raise("is empty; is a variable unset? Give a name")


def folder(text: str) -> Path:
    """A directory's path. Raises ArgumentTypeError for an empty text, which Path reads as the current directory."""
    return Path(text or _raise("is empty; is a variable unset? Name a directory"))


def _read(text: str, reader: Callable[[str], float]) -> float:
    try:
        return reader(text)
    except InvalidQuantity as error:
        return _raise(str(error))


def _raise(message: str) -> NoReturn:
    raise argparse.ArgumentTypeError(message)
