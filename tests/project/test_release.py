"""The files of a release: one version, the same bytes again, and what is in them."""

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from o365mailer_release import changelog, chart, dist, image_archive, sbom, version
from o365mailer_release.errors import ReleaseError

ROOT = Path(__file__).parents[2]
CHANGELOG = "# Changelog\n\n## 0.3.0 - 2027-01-02\n\n- New.\n\n## 0.2.0 - 2026-12-01\n\n- Old.\n"
EPOCH = 1_795_000_000
"""A time in November 2026."""
OURS = {f"o365mailer_{part}" for part in ("contract", "operator", "sidecar", "cli", "emulator")}
RECORD = "Package: zlib1g\nVersion: 1:1.3+dfsg-1\nArchitecture: amd64\nDescription: compression\n folded: line\n"
SETTINGS = "home = /usr/bin\nversion = 3.13.5\nexecutable = /usr/bin/python3.13\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of every file that says the version."""
    for path in (*version.files(ROOT), ROOT / "pyproject.toml", ROOT / "CHANGELOG.md"):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path


def test_every_place_says_the_one_version() -> None:
    assert version.differences(ROOT) == []
    said = {mention.path for mention in version.mentions(ROOT)}
    dockerfiles = {f"{folder}/Dockerfile" for folder in ("operator", "sidecar", "emulator")}
    assert {"charts/o365mailer/Chart.yaml", "examples/emulator.yaml", "README.md", *dockerfiles} <= said


def test_a_place_that_says_another_version_is_named_with_what_to_do(tree: Path) -> None:
    file = tree / "charts/o365mailer/Chart.yaml"
    file.write_text(re.sub(r"^appVersion: .*", "appVersion: 9.9.9", file.read_text(), flags=re.MULTILINE))
    with pytest.raises(ReleaseError) as refusal:
        version.check(tree)
    first, remedy = str(refusal.value).splitlines()
    assert re.fullmatch(r"charts/o365mailer/Chart\.yaml:\d+ says 9\.9\.9, and pyproject\.toml says \S+", first)
    assert remedy == f"`make version VERSION={version.current(ROOT)}` writes it everywhere"


def test_a_version_is_written_everywhere_and_the_changelog_must_have_it(tree: Path) -> None:
    changed = version.write(tree, "12.34.56")
    assert {"pyproject.toml", "charts/o365mailer/Chart.yaml", "sidecar/Dockerfile"} <= set(changed)
    assert version.differences(tree) == ["CHANGELOG.md has no section `## 12.34.56 - DATE`"]
    (tree / "CHANGELOG.md").write_text("## 12.34.56 - 2027-01-01\n")
    assert version.check(tree) == "12.34.56"
    with pytest.raises(ReleaseError, match=r"'1\.2' is no version: write three numbers, such as 0\.2\.0"):
        version.write(tree, "1.2")


def test_a_tag_must_be_the_version() -> None:
    number = version.current(ROOT)
    assert version.check(ROOT, f"v{number}") == number
    with pytest.raises(ReleaseError, match=rf"the tag is v9\.9\.9, .* tag the commit as v{re.escape(number)}"):
        version.check(ROOT, "v9.9.9")


def test_the_text_of_a_release_is_its_section_of_the_changelog() -> None:
    assert changelog.section(CHANGELOG, "0.3.0") == "- New.\n"
    assert changelog.section(CHANGELOG, "0.2.0") == "- Old.\n"
    with pytest.raises(ReleaseError, match=r"nothing below a heading `## 0\.4\.0 - DATE`"):
        changelog.section(CHANGELOG, "0.4.0")
    assert "### Added" in changelog.section((ROOT / "CHANGELOG.md").read_text(), version.current(ROOT))


@pytest.mark.promise("release-files-are-reproducible")
def test_a_wheel_made_twice_has_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        os.utime(ROOT / "contract/o365mailer_contract/names.py")  # a checkout has other times each time
        made.append(dist.wheel(ROOT, epoch=EPOCH, folder=tmp_path / name).read_bytes())
    assert made[0] == made[1]
    with zipfile.ZipFile(io.BytesIO(made[0])) as wheel:
        assert {2026} == {member.date_time[0] for member in wheel.infolist()}
        names = set(wheel.namelist())
    assert {"o365mailer_cli/main.py", "o365mailer_sidecar/main.py"} <= names
    assert {name.split("/")[0] for name in names} == {*OURS, f"o365mailer-{version.current(ROOT)}.dist-info"}


def packaged(*times: int, order: int) -> bytes:
    """A chart's package as Helm writes it, at some time and in some order."""
    made = io.BytesIO()
    names = ("c/templates/a.yaml", "c/Chart.yaml", "c/values.yaml")[::order]
    with (
        gzip.GzipFile(fileobj=made, mode="wb", mtime=times[0]) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, time in zip(names, times, strict=True):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(name), time
            tar.addfile(member, io.BytesIO(name.encode()))
    return made.getvalue()


@pytest.mark.promise("release-files-are-reproducible")
def test_a_charts_package_depends_neither_on_the_time_nor_on_the_order_of_files() -> None:
    one, two = packaged(1, 2, 3, order=1), packaged(7, 8, 9, order=-1)
    assert one != two
    assert chart.normalised(one, EPOCH) == chart.normalised(two, EPOCH)
    with tarfile.open(fileobj=io.BytesIO(chart.normalised(one, EPOCH))) as tar:
        assert tar.getnames() == ["c/Chart.yaml", "c/values.yaml", "c/templates/a.yaml"]
        assert {member.mtime for member in tar} == {EPOCH}
        stream = tar.extractfile("c/Chart.yaml")
        assert stream
        assert stream.read() == b"c/Chart.yaml"


def image_of(files: dict[str, str]) -> image_archive.Image:
    """An image of one layer."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    config = json.dumps({"architecture": "amd64", "os": "linux"}).encode()
    return image_archive.Image("localhost/o365mailer-sidecar:0.1.0", config, (layer.getvalue(),))


def test_an_images_archive_is_an_oci_layout_and_dockers_too(tmp_path: Path) -> None:
    image = image_of({"etc/passwd": "root", "var/lib/dpkg/status.d/zlib1g": RECORD})
    digest = image_archive.write(image, tmp_path / "image.tar")
    assert image_archive.read(tmp_path / "image.tar") == image
    with tarfile.open(tmp_path / "image.tar") as tar:

        def member(name: str) -> bytes:
            stream = tar.extractfile(name)
            assert stream
            return stream.read()

        (entry,) = json.loads(member("index.json"))["manifests"]
        assert json.loads(member("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
        manifest = json.loads(member(f"blobs/{digest.replace(':', '/')}"))
        (layer,) = manifest["layers"]
        assert gzip.decompress(member(f"blobs/{layer['digest'].replace(':', '/')}")) == image.layers[0]
    assert entry["digest"] == digest
    assert entry["annotations"]["io.containerd.image.name"] == image.name
    image_archive.write(image, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "image.tar").read_bytes()


def test_what_an_image_contains_is_listed_with_interpreter_and_debian_packages() -> None:
    image = image_of({"app/pyvenv.cfg": SETTINGS, "./var/lib/dpkg/status.d/zlib1g": RECORD})
    packages = sbom.of_lock(lock=ROOT / "locks/sidecar.txt", pyproject=ROOT / "pyproject.toml", epoch=EPOCH)
    document = sbom.of_image(image, packages)
    assert document["metadata"]["component"]["name"] == "o365mailer-sidecar"
    found = {component["purl"] for component in document["components"]}
    assert {"pkg:generic/python@3.13.5", "pkg:deb/debian/zlib1g@1%3A1.3%2Bdfsg-1?arch=amd64"} <= found
    locked = set(re.findall(r"^(\w[\w-]*)==", (ROOT / "locks/sidecar.txt").read_text(), re.MULTILINE))
    assert {name.split("/")[1].split("@")[0] for name in found if name.startswith("pkg:pypi/")} == locked
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(document)) is None
    assert validator.validate_str(json.dumps(document | {"components": "none"})) is not None


def test_the_command_says_in_one_line_what_is_wrong() -> None:
    command = [sys.executable, "-m", "o365mailer_release", "version", "1.2"]
    environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'release'}:{ROOT / 'rig'}"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "release: '1.2' is no version: write three numbers, such as 0.2.0 (https://semver.org)\n"
