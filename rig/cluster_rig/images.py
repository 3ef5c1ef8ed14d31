"""The project's images, built from its own Dockerfiles and kept as archives until something in them changes."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from cluster_rig import base_image, cache, engines, pip_settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image of the project."""

    folder: str
    """The directory of its Dockerfile."""
    contents: tuple[str, ...]
    """The paths that go into it, which decide when it is built anew."""
    root: Path = ROOT
    """The tree that it is built from; another one for an image of an older commit."""
    tag: str = ""
    """Empty: the tree's version."""

    @property
    def name(self) -> str:
        """Its name in the chart's defaults, unless it has a tag of its own."""
        version = tomllib.loads((self.root / "pyproject.toml").read_text())["project"]["version"]
        return f"localhost/o365mailer-{self.folder}:{self.tag or version}"

    @property
    def stem(self) -> str:
        """What its archives' names begin with; those of another tag are left alone when it is built."""
        return f"{self.tag}.{self.folder}" if self.tag else self.folder


EPOCH = "0"
"""The time of everything in an image, so that the same inputs have the same layer and the cache outlives a commit."""
COMMON = ("pyproject.toml", "LICENSE", "contract", "locks/build.txt", "release/image_root.py")
IMAGES = (
    Image(folder="operator", contents=(*COMMON, "operator", "locks/operator.txt")),
    Image(folder="sidecar", contents=(*COMMON, "sidecar", "locks/sidecar.txt")),
    Image(folder="emulator", contents=(*COMMON, "emulator", "locks/emulator.txt")),
)


def available() -> tuple[Image, ...]:
    """The images that have a Dockerfile."""
    return tuple(image for image in IMAGES if (ROOT / image.folder / "Dockerfile").exists())


def key_of(image: Image, base: str) -> str:
    """Changes with every file of the image, committed or not. Needs no git: a release archive will do."""
    parts = [part for name in files(image, image.root) for part in (name.encode(), (image.root / name).read_bytes())]
    return cache.fingerprint([base.encode(), *parts])


def files(image: Image, root: Path = ROOT) -> list[str]:
    """What goes into the image, and its Dockerfile: all below its contents but bytecode (as in .dockerignore)."""
    tops = [root / name for name in image.contents]
    found = [path for top in tops for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file()]
    return sorted(str(path.relative_to(root)) for path in found if "__pycache__" not in path.parts)


def build(wanted: tuple[Image, ...] | None = None) -> dict[str, Path]:
    """Builds what changed since the last time; returns each image's archive by its name.

    The base is `$O365MAILER_BASE_IMAGE`; unset, docker and podman take the Dockerfile's own from its registry, and
    buildah one made of Debian packages.

    Raises:
        MachineLacksError, BuildError: as their names say.
    """
    engine = engines.find()
    base = os.environ.get("O365MAILER_BASE_IMAGE", "")
    own_base = None if base or engine.name != "buildah" else base_image.archive()
    known = base or (own_base.name if own_base else "")
    wanted = available() if wanted is None else wanted
    archives = {
        image.name: cache.directory() / "images" / f"{image.stem}-{key_of(image, known)}.tar" for image in wanted
    }
    with cache.locked(cache.directory() / "images.lock"):
        missing = [image for image in wanted if not archives[image.name].exists()]
        if missing and own_base:
            engine.load(own_base)
        for image in missing:
            with cache.timed(f"building {image.name} with {engine.name}"):
                build_one(engine, image, archives[image.name], base_image.NAME if own_base else base)
    return archives


def python_image() -> tuple[str, Path]:
    """An image with `python3` to run tests' own programs in: its name, and its archive.

    Raises:
        MachineLacksError, BuildError: as their names say.
    """
    engine = engines.find()
    if engine.name == "buildah" and not os.environ.get("O365MAILER_BASE_IMAGE"):
        return base_image.NAME, base_image.archive()
    written = re.search(r"^ARG BASE=(\S+)", (ROOT / "sidecar" / "Dockerfile").read_text(), re.MULTILINE)
    name = os.environ.get("O365MAILER_BASE_IMAGE") or (written[1] if written else "")
    archive = cache.directory() / "images" / f"python-{cache.fingerprint([name.encode()])}.tar"
    if not archive.exists():
        archive.parent.mkdir(exist_ok=True)
        engine.run("pull", name)
        engine.save(name, archive)
    return name, archive


def build_one(engine: engines.Engine, image: Image, archive: Path, base: str) -> None:
    """One build; older archives of the image make way."""
    settings = cache.directory() / "images" / "pip.conf"
    settings.parent.mkdir(exist_ok=True)
    secrets, mounts = pip_settings.write(settings)
    try:
        engine.build(
            dockerfile=image.root / image.folder / "Dockerfile",
            context=image.root,
            name=image.name,
            archive=archive,
            arguments={"SOURCE_DATE_EPOCH": EPOCH} | ({"BASE": base} if base else {}),
            secrets=secrets,
            mounts=mounts,
        )
    finally:
        settings.unlink()
    for older in archive.parent.glob(f"{image.stem}-*.tar"):
        if older != archive:
            older.unlink()
