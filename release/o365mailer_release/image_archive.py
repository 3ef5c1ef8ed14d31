"""The archive of an image as a release has it: an OCI layout with compressed layers, and the member that docker reads.

`docker load` (any version), `podman load`, `ctr images import` and `skopeo copy oci-archive:` read the same file. The
engines' own archives differ from one another and from call to call; this one depends on the image alone.
(OCI image-spec v1.1, image-layout.md; Docker Image Specification v1.2.)
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEX: Final = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Image:
    """What is in an engine's archive."""

    name: str
    """`registry/repository:tag`."""
    config: bytes
    layers: tuple[bytes, ...]
    """Uncompressed tar files, the lowest first."""

    @property
    def architecture(self) -> str:
        """`amd64`, `arm64`."""
        return str(json.loads(self.config)["architecture"])

    def texts(self, below: str) -> dict[str, str]:
        """The regular files below a path (without a leading slash), by name."""
        found = {}
        for layer in self.layers:
            with tarfile.open(fileobj=io.BytesIO(layer)) as content:
                for member in content:
                    name = member.name.removeprefix("./")
                    if member.isfile() and name.startswith(below):
                        stream = content.extractfile(member)
                        found[name] = stream.read().decode() if stream else ""
        return found


def read(archive: Path) -> Image:
    """An image from an archive of docker, podman or buildah."""
    with tarfile.open(archive) as content:

        def member(name: str) -> bytes:
            stream = content.extractfile(name)
            data = stream.read() if stream else b""
            return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data

        (manifest,) = json.loads(member("manifest.json"))
        layers = tuple(member(layer) for layer in manifest["Layers"])
        return Image(name=manifest["RepoTags"][0], config=member(manifest["Config"]), layers=layers)


def write(image: Image, archive: Path) -> str:
    """Writes the archive; returns the manifest's digest, which a registry shows too."""
    blobs: dict[str, bytes] = {}
    layers = [described(LAYER, gzip.compress(layer, compresslevel=6, mtime=0), blobs) for layer in image.layers]
    config = described(CONFIG, image.config, blobs)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    entry = described(MANIFEST, encoded(manifest), blobs) | {
        "annotations": {
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": image.name.rpartition(":")[2],
        }
    }
    docker = {
        "Config": blob(config["digest"]),
        "RepoTags": [image.name],
        "Layers": [blob(layer["digest"]) for layer in layers],
    }
    members = {
        "oci-layout": encoded({"imageLayoutVersion": "1.0.0"}),
        "index.json": encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}),
        "manifest.json": encoded([docker]),
        **{blob(digest): content for digest, content in sorted(blobs.items())},
    }
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            information = tarfile.TarInfo(name)
            information.size, information.mode = len(content), 0o644
            tar.addfile(information, io.BytesIO(content))
    return str(entry["digest"])


def described(media_type: str, content: bytes, blobs: dict[str, bytes]) -> dict[str, Any]:
    """The descriptor of a blob, which it adds to the blobs (OCI image-spec v1.1, descriptor.md)."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    blobs[digest] = content
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def blob(digest: str) -> str:
    """Where a blob is in the layout."""
    return f"blobs/{digest.replace(':', '/')}"


def encoded(document: Mapping[str, Any] | list[Any]) -> bytes:
    """JSON without a choice in it."""
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def control_records(texts: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The fields of Debian's control records (deb822), folded lines left out."""
    for text in texts.values():
        lines = [line for line in text.splitlines() if line and not line.startswith(" ")]
        yield {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
