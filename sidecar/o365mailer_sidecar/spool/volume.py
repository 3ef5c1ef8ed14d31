"""What a directory lies on: a spool in memory would make a 250 a promise that ends with the machine."""

import os
from pathlib import Path
from typing import Final

IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})

MOUNTS: Final = Path("/proc/self/mountinfo")


def kind(directory: Path, *, mounts: str) -> str:
    """The type of the file system that holds it, from proc_pid_mountinfo(5); empty when it is not told.

    The device's number decides, not the path: a mount may lie behind symbolic links, or under another mount.
    """
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2] == number:
            return source.split()[0]
    return ""


def mounted() -> str:
    """The mounts that this process sees; empty where the system does not tell."""
    try:
        return MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
