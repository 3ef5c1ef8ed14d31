"""How this machine's pip reaches its index, handed to image builds as a file: whatever it is, unknown to us."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

SECTIONS = ("global", "install", "wheel", "download", ":env:")
AUTHORITY_INSIDE = "/run/pip-ca.crt"
"""Where the Dockerfiles' secret `ca` is."""

NOT_FOR_A_BUILD = {"config-file", "require-virtualenv", "target", "user", "prefix", "cache-dir", "log", "no-index"}


def listed() -> list[tuple[str, str, str]]:
    """(section, key, value) of `pip config list`, which has files and environment alike."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True)
    return list(parse(done.stdout.splitlines()))


def parse(lines: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    """`global.cert='/x'` and `:env:.cert='/x'` are lines of it; the value is a Python literal."""
    for line in lines:
        name, separator, literal = line.partition("=")
        section, dot, key = name.rpartition(".")
        if separator and dot and section in SECTIONS and key not in NOT_FOR_A_BUILD:
            yield section, key, str(ast.literal_eval(literal))


def render(settings: Iterable[tuple[str, str, str]]) -> str:
    """The same as a pip.conf; what the environment says wins, and a certificate is where the build mounts it."""
    chosen: dict[str, dict[str, str]] = {}
    for section, key, value in sorted(settings, key=lambda setting: setting[0] == ":env:"):
        place = "global" if section == ":env:" else section
        chosen.setdefault(place, {})[key] = AUTHORITY_INSIDE if key == "cert" else value
    sections = (
        "\n".join([f"[{section}]", *(f"{key} = {' '.join(value.split())}" for key, value in values.items())])
        for section, values in chosen.items()
    )
    return "\n".join(sections) + "\n"


def write(path: Path) -> tuple[dict[str, Path], tuple[Path, ...]]:
    """Writes the pip.conf, and returns the build's secrets and the directories it must see at their own path."""
    settings = listed()
    path.touch(mode=0o600)
    path.write_text(render(settings))
    secrets = {"pip": path}
    if authorities := [Path(value) for _, key, value in settings if key == "cert"]:
        secrets["ca"] = authorities[-1]
    elif system := os.environ.get("SSL_CERT_FILE"):
        secrets["ca"] = Path(system)
    links = (word for _, key, value in settings if key == "find-links" for word in value.split())
    return secrets, tuple(sorted({Path(link) for link in links if Path(link).is_dir()}))
