"""What a wheel or an image contains, as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/).

cyclonedx-bom reads the Python packages from the lock with which the image is built. The interpreter and the Debian
packages of which an image has files are read from the image itself.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from o365mailer_release.errors import ReleaseError
from o365mailer_release.image_archive import Image, control_records

DPKG = "var/lib/dpkg/status.d/"


def of_lock(*, lock: Path, pyproject: Path, epoch: int) -> dict[str, Any]:
    """The packages of a lock, and the project as what they are for.

    Raises:
        ReleaseError: cyclonedx-bom fails.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--sv", "1.6"]
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    done = subprocess.run(
        [*command, "--pyproject", pyproject, lock], env=environ, capture_output=True, text=True, timeout=120
    )
    if done.returncode:
        raise ReleaseError(f"cyclonedx-bom cannot read {lock.name}:\n{done.stderr.strip()[-1000:]}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def of_image(image: Image, packages: Mapping[str, Any]) -> dict[str, Any]:
    """The document of an image: the packages of its lock, its interpreter, its Debian packages."""
    name, _, version = image.name.rpartition("/")[2].rpartition(":")
    document = json.loads(json.dumps(packages))
    document["metadata"]["component"] |= {"type": "container", "name": name, "version": version}
    document["components"] = [
        *document.get("components", ()),
        interpreter(image.texts("app/pyvenv.cfg")["app/pyvenv.cfg"]),
        *debian(control_records(image.texts(DPKG))),
    ]
    return dict(document)


def interpreter(settings: str) -> dict[str, str]:
    """CPython, by the settings of the virtual environment."""
    found = dict(line.replace(" ", "").split("=", 1) for line in settings.splitlines() if "=" in line)
    version = found["version"]
    return component("python", version, f"pkg:generic/python@{version}")


def debian(records: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Debian packages, by their control records (https://github.com/package-url/purl-spec, type deb)."""
    return [
        component(
            record["Package"],
            record["Version"],
            f"pkg:deb/debian/{record['Package']}@{quote(record['Version'])}?arch={record['Architecture']}",
        )
        for record in sorted(records, key=lambda record: record["Package"])
    ]


def component(name: str, version: str, purl: str) -> dict[str, str]:
    """One entry; its purl is its reference too."""
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
