"""Everything that a release consists of, in one directory."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cluster_rig import images, programs
from cluster_rig.cache import timed

from o365mailer_release import chart, image_archive, sbom, version
from o365mailer_release.errors import ReleaseError

CHART = Path("charts/o365mailer")
SUMS = "SHA256SUMS"


def epoch_of(root: Path) -> int:
    """The time of the commit in seconds, or `$SOURCE_DATE_EPOCH`.

    Raises:
        ReleaseError: there is neither.
    """
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError("git knows no commit here: set SOURCE_DATE_EPOCH to a time in seconds since 1970")
    return int(done.stdout)


def wheel(root: Path, *, epoch: int, folder: Path) -> Path:
    """The wheel of the project; hatchling takes its times from SOURCE_DATE_EPOCH.

    Raises:
        ReleaseError: the build fails.
    """
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError(f"hatchling cannot build the wheel:\n{done.stderr.strip()[-2000:]}")
    (made,) = folder.glob("*.whl")
    return made


def make(root: Path, folder: Path, *, tag: str = "", registry: str = "") -> list[Path]:
    """Makes all files of a release anew; returns them. The chart pulls its images from the registry, if there is one.

    Raises:
        ReleaseError: the version is not the same everywhere, or a build fails.
        RigError: the images or Helm cannot be built.
    """
    number, epoch = version.check(root, tag), epoch_of(root)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with timed("building the wheel"):
        wheel(root, epoch=epoch, folder=folder)
        pack = sbom.of_lock(lock=root / "locks/cli.txt", pyproject=root / "pyproject.toml", epoch=epoch)
        save(pack, folder / f"o365mailer-{number}.cdx.json")
    with timed("packaging the chart"):
        helm = programs.build([program for program in programs.NODE if program.name == "helm"])["helm"]
        chart.package(chart=root / CHART, helm=helm, epoch=epoch, folder=folder, registry=registry)
    for name, archive in images.build().items():
        with timed(f"writing the archive of {name}"):
            write_image(root, archive, epoch=epoch, folder=folder)
    made = sorted(folder.iterdir())
    (folder / SUMS).write_text("".join(f"{digest(path)}  {path.name}\n" for path in made))
    return [*made, folder / SUMS]


def write_image(root: Path, archive: Path, *, epoch: int, folder: Path) -> None:
    """The archive of one image and what it contains."""
    image = image_archive.read(archive)
    repository, _, number = image.name.rpartition("/")[2].rpartition(":")
    name = f"{repository}-{number}-linux-{image.architecture}"
    image_archive.write(image, folder / f"{name}.tar")
    lock = root / "locks" / f"{repository.removeprefix('o365mailer-')}.txt"
    packages = sbom.of_lock(lock=lock, pyproject=root / "pyproject.toml", epoch=epoch)
    save(sbom.of_image(image, packages), folder / f"{name}.cdx.json")


def save(document: dict[str, object], path: Path) -> None:
    """Writes JSON for people and programs."""
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
