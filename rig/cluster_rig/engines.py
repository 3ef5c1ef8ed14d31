"""Image builds with whichever engine answers: docker, podman or buildah; all read the same Dockerfiles."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster_rig import cache
from cluster_rig.errors import BuildError, MachineLacksError

BUILD_SECONDS = 1800


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A program that builds images and writes them as archives in docker's format."""

    name: str

    @property
    def storage(self) -> list[str]:
        """buildah keeps its images in our cache rather than in the system's directories."""
        if self.name != "buildah":
            return []
        root = cache.directory() / "buildah"
        return ["--root", str(root / "root"), "--runroot", str(root / "run")]

    def answers(self) -> bool:
        """Whether it is installed and works; a docker client without its daemon does not."""
        if not shutil.which(self.name):
            return False
        return subprocess.run([self.name, *self.storage, "info"], capture_output=True).returncode == 0

    def run(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        """One command of the engine; returns its stdout.

        Raises:
            BuildError: it failed; the text ends with what it said.
        """
        command = [self.name, *self.storage, *map(str, arguments)]
        environ = {**os.environ, "DOCKER_BUILDKIT": "1"}
        done = subprocess.run(
            command, cwd=cwd, env=environ, capture_output=True, text=True, errors="replace", timeout=BUILD_SECONDS
        )
        if done.returncode:
            said = (done.stdout + done.stderr).strip()[-3000:]
            raise BuildError(f"{self.name} {arguments[0]} failed with {done.returncode}:\n{said}")
        return done.stdout

    def load(self, archive: Path) -> None:
        """Loads an archive's images into the engine."""
        if self.name == "buildah":
            self.run("pull", f"docker-archive:{archive}")
        else:
            self.run("load", "--input", archive)

    def build(
        self,
        *,
        dockerfile: Path,
        context: Path,
        name: str,
        archive: Path,
        arguments: Mapping[str, str],
        secrets: Mapping[str, Path],
        mounts: tuple[Path, ...] = (),
    ) -> Path:
        """Builds the image and writes it to the archive under its name.

        `secrets` become files for single steps and stay in no layer; `mounts` are directories seen at their own path
        during the build, which docker alone cannot do.
        """
        options = [word for pair in arguments.items() for word in ("--build-arg", "=".join(pair))]
        options += [word for key, path in secrets.items() for word in ("--secret", f"id={key},src={path}")]
        if self.name == "buildah":
            # chroot needs no runtime and no mount that a container would refuse; the network is the machine's.
            options += ["--isolation", "chroot", "--network", "host", "--pull-never"]
        if self.name != "docker" and "SOURCE_DATE_EPOCH" in arguments:
            options += ["--timestamp", arguments["SOURCE_DATE_EPOCH"]]  # BuildKit reads the argument itself
        if self.name != "docker":
            options += [word for path in mounts for word in ("--volume", f"{path}:{path}:ro")]
        if self.name == "buildah":
            self.run("rm", "--all")  # a build that was killed left its container, whose image cannot be removed
        verb = "bud" if self.name == "buildah" else "build"
        self.run(verb, *options, "--file", dockerfile, "--tag", name, context)
        self.save(name, archive)
        if self.name == "buildah":
            # The image of the same name that this one replaced; the storage is ours alone.
            self.run("rmi", "--prune")
        return archive

    def save(self, name: str, archive: Path) -> Path:
        """Writes an image it knows to an archive; the archive appears when it is complete."""
        archive.parent.mkdir(parents=True, exist_ok=True)
        unfinished = archive.with_name(f".{archive.name}.{os.getpid()}")
        unfinished.unlink(missing_ok=True)
        if self.name == "buildah":
            self.run("push", name, f"docker-archive:{unfinished}:{name}")
        else:
            self.run("save", "--output", unfinished, name)
        unfinished.replace(archive)
        return archive


def find() -> Engine:
    """The first engine that answers.

    Raises:
        MachineLacksError: none does.
    """
    for name in ("docker", "podman", "buildah"):
        engine = Engine(name=name)
        if engine.answers():
            return engine
    text = "neither docker, podman nor buildah answers (`make setup-node` as root on Debian installs buildah)"
    raise MachineLacksError(text)
