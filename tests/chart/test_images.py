"""What is in the images: what runs, and nothing else."""

import json
import tarfile
import zlib
from collections.abc import Iterator
from functools import cache
from os.path import normpath
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from cluster_rig import images
from o365mailer_release import dist, image_archive
from support.cluster_fixtures import need

from o365mailer_contract import names

pytestmark = pytest.mark.timeout(600)

COMMANDS = {
    "sidecar": {"o365mailer-sidecar", names.AWAIT_READY},
    "operator": {"o365mailer-controller", "o365mailer-webhook"},
    "emulator": {"o365mailer-emulator"},
}
OURS = {
    "sidecar": {"o365mailer_contract", "o365mailer_sidecar"},
    "operator": {"o365mailer_contract", "o365mailer_operator"},
    "emulator": {"o365mailer_emulator"},
}
HEAVY = {"kopf", "kubernetes", "msal", "aiohttp", "cryptography", "requests"}
IMAGE_NAMES = tuple(COMMANDS)
MAX_COMPRESSED = {"sidecar": 35_000_000, "operator": 90_000_000, "emulator": 50_000_000}
"""Bytes that a node downloads."""


def archive_of(name: str) -> Path:
    """The image's archive, built if its files changed."""
    need("project_images")
    (archive,) = (
        path for full, path in images.build().items() if full.split("/")[-1].startswith(f"o365mailer-{name}:")
    )
    return archive


def members(archive: tarfile.TarFile, layers: list[str]) -> set[str]:
    """The paths that a container sees: the layers over one another (OCI image layer specification, "Whiteouts")."""
    found: set[str] = set()
    for layer in layers:
        stream = archive.extractfile(layer)
        assert stream
        with tarfile.open(fileobj=stream) as content:
            paths = {PurePosixPath("/", member.name) for member in content if not member.isdir()}
        for path in sorted(paths):
            if path.name == ".wh..wh..opq":
                found = {name for name in found if not name.startswith(f"{path.parent}/")}
            elif path.name.startswith(".wh."):
                gone = str(path.with_name(path.name.removeprefix(".wh.")))
                found = {name for name in found if name != gone and not name.startswith(f"{gone}/")}
        found |= {str(path) for path in paths if not path.name.startswith(".wh.")}
    return found


def modes_of(name: str) -> dict[str, tuple[int, int]]:
    """Owner and mode of what is in /app/bin, links followed."""
    found: dict[str, tarfile.TarInfo] = {}
    with tarfile.open(archive_of(name)) as archive:
        (manifest,) = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest.json"))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=archive.extractfile(layer)) as content:
                found |= {str(PurePosixPath("/", member.name)): member for member in content}

    def followed(path: str) -> tarfile.TarInfo:
        member = found[path]
        return followed(normpath(PurePosixPath(path).parent / member.linkname)) if member.issym() else member

    commands = [path for path in found if path.startswith("/app/bin/")]
    return {path: (followed(path).uid, followed(path).mode & 0o777) for path in commands}


@cache
def content_of(name: str) -> tuple[frozenset[str], dict[str, Any]]:
    """An image's paths and its configuration."""
    with tarfile.open(archive_of(name)) as archive:
        (manifest,) = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest.json"))
        configuration = json.load(archive.extractfile(manifest["Config"]) or pytest.fail("no configuration"))
        return frozenset(members(archive, manifest["Layers"])), configuration["config"]


def packages(paths: frozenset[str]) -> Iterator[str]:
    """The names in the site-packages of our environment."""
    for path in paths:
        parts = PurePosixPath(path).parts
        if parts[:3] == ("/", "app", "lib") and "site-packages" in parts:
            yield parts[parts.index("site-packages") + 1]


@pytest.fixture(params=IMAGE_NAMES)
def image(request: pytest.FixtureRequest) -> str:
    """The name of one image after the other."""
    return str(request.param)


def test_an_image_runs_its_own_program_without_root(image: str) -> None:
    _, configuration = content_of(image)
    assert configuration["User"] == {"sidecar": f"{names.SIDECAR_USER}:{names.SIDECAR_USER}"}.get(image, "65532:65532")
    command = configuration.get("Entrypoint") or configuration["Cmd"]
    assert command[0] in COMMANDS[image]


def test_the_sidecars_interpreter_can_be_executed_and_not_read() -> None:
    """So no process of its uid can look into it. The hook and the commands are scripts, which must be read."""
    files = modes_of("sidecar")
    assert files["/app/bin/python3"] == (0, 0o711)
    assert files["/app/bin/o365mailer-sidecar"] == files[f"/app/bin/{names.AWAIT_READY}"] == (0, 0o755)
    assert modes_of("operator")["/app/bin/python3"] == (0, 0o755)


def test_an_image_has_its_own_commands_and_no_other(image: str) -> None:
    paths, _ = content_of(image)
    commands = {PurePosixPath(path).name for path in paths if path.startswith("/app/bin/")}
    assert {name for name in commands if not name.startswith("python")} == COMMANDS[image]


def test_an_image_has_the_packages_that_it_runs_and_no_other_of_ours(image: str) -> None:
    paths, _ = content_of(image)
    assert {name for name in packages(paths) if name.startswith("o365mailer_")} == OURS[image]


def test_the_sidecars_image_has_only_what_a_mail_needs() -> None:
    paths, _ = content_of("sidecar")
    found = set(packages(paths))
    assert {"msgspec", "uvloop"} <= found
    assert found.isdisjoint(HEAVY)
    operators, _ = content_of("operator")
    assert {"kopf", "kubernetes", "msal", "aiohttp"} <= set(packages(operators))


def test_nothing_in_an_image_installs_anything(image: str) -> None:
    paths, _ = content_of(image)
    assert any(path.endswith("/asyncio/__init__.py") for path in paths)
    assert [path for path in paths if path.endswith(("/pip/__init__.py", "/ensurepip/__init__.py"))] == []
    assert [path for path in paths if "/site-packages/setuptools/" in path] == []


@pytest.mark.promise("images-are-small")
def test_an_image_is_small(image: str) -> None:
    """The fastest level of gzip makes more bytes than the level with which images are pushed (6)."""
    with tarfile.open(archive_of(image)) as archive:
        (manifest,) = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest.json"))
        packed = sum(compressed(archive, layer) for layer in manifest["Layers"])
    assert 10_000_000 < packed <= MAX_COMPRESSED[image]


def compressed(archive: tarfile.TarFile, layer: str) -> int:
    """The size of a layer in bytes after gzip."""
    stream = archive.extractfile(layer)
    assert stream
    packer = zlib.compressobj(level=1, wbits=31)
    packed = sum(len(packer.compress(part)) for part in iter(lambda: stream.read(1 << 20), b""))
    return packed + len(packer.flush())


def test_an_image_has_an_interpreter_and_no_other_program(image: str) -> None:
    """No shell, no package manager, no tool for who breaks in."""
    paths, _ = content_of(image)
    folders = ("/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/")
    programs = {PurePosixPath(path).name for path in paths if path.startswith(folders)}
    assert "python3" in programs
    assert {name for name in programs if not name.startswith("python3")} == set()


def test_of_the_standard_library_what_a_server_never_imports_is_left_out(image: str) -> None:
    paths, _ = content_of(image)
    top = next(path.removesuffix("asyncio/__init__.py") for path in paths if path.endswith("/asyncio/__init__.py"))
    modules = {PurePosixPath(path.removeprefix(top)).parts[0] for path in paths if path.startswith(top)}
    assert {"encodings", "json", "email", "ssl.py", "lib-dynload"} <= modules
    assert modules.isdisjoint({"test", "tkinter", "idlelib", "ensurepip", "turtledemo", "lib2to3", "venv"})


def test_scanners_find_the_distributions_packages_and_people_their_licences(image: str) -> None:
    paths, _ = content_of(image)
    recorded = {PurePosixPath(path).name for path in paths if path.startswith("/var/lib/dpkg/status.d/")}
    assert {"libc6", "ca-certificates", "zlib1g"} <= recorded
    folders = {f"/usr/share/doc/{name}" for name in recorded}
    linked = {folder for folder in folders if folder in paths}  # a link to the folder of another package
    assert folders - linked == {folder for folder in folders if f"{folder}/copyright" in paths}
    assert "/usr/share/doc/libc6/copyright" in paths
    assert "/etc/ssl/certs/ca-certificates.crt" in paths


def test_a_release_has_the_image_as_an_archive_and_lists_what_is_in_it(tmp_path: Path) -> None:
    dist.write_image(images.ROOT, archive_of("sidecar"), epoch=0, folder=tmp_path)
    listed, archive = sorted(tmp_path.iterdir())
    written = image_archive.read(archive)
    assert written.name.split("/o365mailer-")[1].startswith("sidecar:")
    assert archive.stat().st_size <= MAX_COMPRESSED["sidecar"] + 100_000
    components = {part["name"]: part["purl"] for part in json.loads(listed.read_text())["components"]}
    assert components["libc6"].startswith("pkg:deb/debian/libc6@")
    assert components["python"].startswith("pkg:generic/python@3.")
    installed = {name.split("-")[0] for name in packages(content_of("sidecar")[0]) if name.endswith(".dist-info")}
    from_locks = {name for name, purl in components.items() if purl.startswith("pkg:pypi/")}
    assert from_locks == installed - {"o365mailer"}


def test_the_builds_own_settings_stay_in_no_layer(image: str) -> None:
    paths, configuration = content_of(image)
    assert "/etc/passwd" in paths
    assert paths.isdisjoint({"/etc/pip.conf", "/run/pip-ca.crt"})
    assert not [entry for entry in configuration["Env"] if entry.startswith("PIP_")]


def test_bytecode_is_there_and_is_not_checked_against_sources(image: str) -> None:
    paths, _ = content_of(image)
    assert [path for path in paths if "/o365mailer_" in path and path.endswith(".pyc")]
