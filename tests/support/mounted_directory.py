"""A directory that changes as a Secret's volume does."""

import base64
from collections.abc import Mapping
from pathlib import Path


class MountedDirectory:
    """Files in the layout of the kubelet's AtomicWriter: links through `..data`, swapped all at once by a rename."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.version = 0
        path.mkdir(parents=True, exist_ok=True)

    def swap(self, files: Mapping[str, bytes], *, mode: int = 0o444) -> None:
        """Replace the whole content by these files."""
        self.version += 1
        data = self.path / f"..{self.version}"
        data.mkdir()
        for name, content in files.items():
            (data / name).write_bytes(content)
            (data / name).chmod(mode)
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        fresh = self.path / "..data_tmp"
        fresh.symlink_to(data.name)
        fresh.rename(self.path / "..data")

    def swap_secret(self, data: Mapping[str, str]) -> None:
        """Make a Secret's keys the whole content, from their base64 texts."""
        self.swap({name: base64.b64decode(content) for name, content in data.items()})
