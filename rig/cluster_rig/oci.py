"""Container images written without a container engine, as the archive that every engine and containerd can load.

The format is docker's (`manifest.json`, a configuration, layers as tar files; Docker Image Specification v1.2): the
newer OCI layout is not read by `docker load` before version 25.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_archive(*, archive: Path, layer: Path, name: str, config: Mapping[str, Any]) -> Path:
    """Writes an image of one layer (an uncompressed tar file) under the name `registry/repository:tag`.

    `config` is the image's `config` member: Entrypoint, Env, User.
    """
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    document = {
        "architecture": ARCHITECTURES.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "o365mailer test cluster"}],
    }
    encoded = json.dumps(document).encode()
    config_name = f"{hashlib.sha256(encoded).hexdigest()}.json"
    layer_name = f"{digest}.tar"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]).encode()
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_name(f".{archive.name}.{os.getpid()}")
    with tarfile.open(unfinished, "w") as tar:
        tar.add(layer, arcname=layer_name)
        for member, content in ((config_name, encoded), ("manifest.json", manifest)):
            information = tarfile.TarInfo(member)
            information.size = len(content)
            tar.addfile(information, io.BytesIO(content))
    unfinished.replace(archive)
    return archive


def write_pause(*, program: Path, archive: Path, name: str) -> Path:
    """The image of the process that holds a pod's namespaces: one static program and nothing else."""
    layer = archive.with_suffix(".layer")
    layer.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(layer, "w") as tar:
        tar.add(program, arcname="pause")
    write_archive(archive=archive, layer=layer, name=name, config={"Entrypoint": ["/pause"], "User": "65535:65535"})
    layer.unlink()
    return archive
