"""The base image of the Dockerfiles, made of Debian packages: for builds where no image registry is at hand.

It has the Debian release and the Python of the Dockerfiles' own base, so the images have the same contents either way.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from cluster_rig import cache, oci
from cluster_rig.errors import BuildError, MachineLacksError

RELEASE = "trixie"
"""The release of the Dockerfiles' own base. It has Python 3.13."""
NAME = f"localhost/o365mailer-base:{RELEASE}"
PACKAGES = ("python3", "python3-venv", "ca-certificates")
NOT_IN_AN_IMAGE = (
    "dev/*",
    "proc/*",
    "sys/*",
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "usr/share/man",
)


def mirror(codename: str) -> str:
    """The address from which this machine's apt gets the release.

    Raises:
        MachineLacksError: apt knows none, or is not there.
    """
    if not shutil.which("apt-get") or not shutil.which("debootstrap") or os.geteuid() != 0:
        raise MachineLacksError("a base image without a registry needs root, Debian's apt and debootstrap")
    command = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        release, address = line.split(" ", 1)
        if release == codename:
            return address
    raise MachineLacksError(f"apt's sources name no mirror of {codename}")


def archive() -> Path:
    """The base image's archive; made once (about a minute) and kept in the cache.

    Raises:
        MachineLacksError, BuildError: as their names say.
    """
    key = cache.fingerprint([NAME.encode(), " ".join(PACKAGES + NOT_IN_AN_IMAGE).encode()])
    path = cache.directory() / "images" / f"base-{RELEASE}-{key}.tar"
    if path.exists():
        return path
    with cache.locked(cache.directory() / "base-image.lock"):
        if not path.exists():
            own = platform.freedesktop_os_release()["VERSION_CODENAME"]
            with cache.timed(f"making the base image from Debian packages ({RELEASE}, {', '.join(PACKAGES)})"):
                make(source=mirror(own), path=path)
    return path


def make(*, source: str, path: Path) -> None:
    """debootstrap into a temporary directory, and from there into an archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="base-") as directory:
        root, layer = Path(directory) / "root", Path(directory) / "layer.tar"
        include = f"--include={','.join(PACKAGES)}"
        run("debootstrap", "--variant=minbase", include, RELEASE, str(root), source)
        excluded = [f"--exclude=./{pattern}" for pattern in NOT_IN_AN_IMAGE]
        run("tar", "--create", f"--file={layer}", f"--directory={root}", "--numeric-owner", *excluded, ".")
        environ = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        oci.write_archive(archive=path, layer=layer, name=NAME, config={"Env": environ, "Cmd": ["/bin/bash"]})


def run(*command: str) -> None:
    """Run one command that must succeed."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise BuildError(f"{command[0]} failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")
