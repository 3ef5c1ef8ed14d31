"""The chart's package, made by the real Helm."""

import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster_rig.clients import Client
from o365mailer_release import chart
from o365mailer_release.errors import ReleaseError

from chart.release import CHART

EPOCH = 1_795_000_000
REGISTRY = "registry.example.com/mail"


@pytest.fixture
def package(helm: Client, tmp_path: Path) -> Callable[..., Path]:
    """Makes a package of our chart in a new folder."""

    def package_into(name: str, registry: str = "") -> Path:
        (tmp_path / name).mkdir()
        return chart.package(chart=CHART, helm=helm.program, epoch=EPOCH, folder=tmp_path / name, registry=registry)

    return package_into


def values(made: Path) -> str:
    """values.yaml in a package."""
    with tarfile.open(made) as tar:
        stream = tar.extractfile("o365mailer/values.yaml")
        assert stream
        return stream.read().decode()


@pytest.mark.promise("release-files-are-reproducible")
def test_the_chart_packaged_twice_has_the_same_bytes(package: Callable[..., Path]) -> None:
    one, two = package("one"), package("two")
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()
    assert values(one) == (CHART / "values.yaml").read_text()


def registries(helm: Client, chart: Path, *values: str) -> set[str]:
    """Where the objects of a package take their images from."""
    settings = [f"--set={value}" for value in values]
    rendered = helm("template", "o365mailer", chart, "--kube-version=1.35.0", *settings)
    return set(re.findall(r"image: \"?(\S+)/o365mailer-", rendered))


def test_a_published_chart_knows_where_its_images_are(package: Callable[..., Path], helm: Client) -> None:
    own, told = package("own"), package("told", REGISTRY)
    assert registries(helm, own) == {"localhost"}
    assert registries(helm, told) == {REGISTRY}
    assert registries(helm, told, "global.imageRegistry=mirror.example") == {"mirror.example"}


def test_a_registry_that_cannot_be_written_is_refused(package: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"'https://x' is no registry: write host and path, such as registry\."):
        package("own", "https://x")
    with pytest.raises(ReleaseError, match=r"templates/_names\.tpl of the chart does not say .* once"):
        chart.set_registry(tmp_path, REGISTRY)
