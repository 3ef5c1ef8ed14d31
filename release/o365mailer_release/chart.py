"""The chart's package, with the same bytes each time: `helm package` writes the time of the call into it."""

import gzip
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from o365mailer_release.errors import ReleaseError

DEFAULT = ("templates/_names.tpl", '| default "localhost"')
"""Where the chart says from which registry it takes images if no value says it."""


def package(*, chart: Path, helm: Path, epoch: int, folder: Path, registry: str = "") -> Path:
    """Packages a chart into `folder`; every time in it is `epoch` (seconds).

    With a registry the chart pulls its images from there. Without one it keeps "localhost": images that you load.

    Raises:
        ReleaseError: Helm refuses the chart, or the registry cannot be written into it.
    """
    with tempfile.TemporaryDirectory() as name:
        copy = Path(shutil.copytree(chart, Path(name, chart.name)))
        if registry:
            set_registry(copy, registry)
        done = subprocess.run([helm, "package", copy, "--destination", name], capture_output=True, text=True)
        if done.returncode:
            raise ReleaseError(f"helm package failed:\n{done.stderr.strip()}")
        (made,) = Path(name).glob("*.tgz")
        written = folder / made.name
        written.write_bytes(normalised(made.read_bytes(), epoch))
    return written


def set_registry(chart: Path, registry: str) -> None:
    """Writes another default for the registry into a chart.

    Raises:
        ReleaseError: it is no registry, or the chart has no place for it.
    """
    if not re.fullmatch(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*", registry):
        raise ReleaseError(f"{registry!r} is no registry: write host and path, such as registry.example.com/mail")
    name, text = DEFAULT
    file = chart / name
    if not file.exists() or file.read_text().count(text) != 1:
        raise ReleaseError(f"{name} of the chart does not say {text!r} once: the registry cannot be written into it")
    file.write_text(file.read_text().replace(text, f'| default "{registry}"'))


def normalised(package: bytes, epoch: int) -> bytes:
    """The same files in the order of their names, with one owner, one mode and one time."""
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(package)) as read,
        gzip.GzipFile(filename="", fileobj=made, mode="wb", mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as written,
    ):
        # Helm reads Chart.yaml wherever it is; `helm package` puts it first, and so do we.
        members = sorted(read.getmembers(), key=lambda member: (member.name.count("/"), member.name))
        for member in members:
            plain = tarfile.TarInfo(member.name)
            plain.size, plain.mtime, plain.mode = member.size, epoch, 0o644
            written.addfile(plain, read.extractfile(member))
    return made.getvalue()
