"""`helm upgrade` from the chart and the operator of the commit before this one, while apps mail and pods start."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import admissions, apps
from cluster.installation import CONTROLLER, OPERATOR, RELEASE, WEBHOOK, Installation
from cluster.team import Team
from cluster_rig import images, tryout
from support.waiting import eventually

pytestmark = pytest.mark.timeout(600)

OLD = "before"
"""The tag of the older operator."""
ROLLOUT = ("--wait", "--timeout=120s")


def commit_before() -> str:
    """HEAD where files differ from it, else its parent. Empty without a history, as in a release's archive."""
    git = ["git", "-C", str(images.ROOT)]
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True).returncode == 1
    wanted = "HEAD" if changed else "HEAD~1"
    found = subprocess.run([*git, "rev-parse", "--verify", "--quiet", wanted], capture_output=True, text=True)
    return found.stdout.strip()


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The tree of the commit before this one. Without a history it is this tree: then the upgrade only restarts."""
    commit = commit_before()
    if not commit:
        return images.ROOT
    archive = subprocess.run(
        ["git", "-C", str(images.ROOT), "archive", "--format=tar", commit], capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tree:
        tree.extractall(tmp_path / "before", filter="data")
    return tmp_path / "before"


@pytest.fixture
def older(installation: Installation, before: Path, project_images: dict[str, Path]) -> Iterator[Installation]:
    """The installation with the older chart and operator. At the end it is as it was, whatever happened."""
    (operator,) = (image for image in images.IMAGES if image.folder == "operator")
    built = images.build((dataclasses.replace(operator, root=before, tag=OLD),))
    installation.cluster.load(*built.values())
    hosts = [tryout.EMULATOR_HOST]
    values = {"allowedHosts": {"authority": hosts, "submission": hosts}, "image": {"tag": OLD}}
    chart = before / "charts" / "o365mailer"
    command = ("upgrade", RELEASE, chart, "--namespace", OPERATOR, "--reset-values", "--values", "-", *ROLLOUT)
    installation.keep_record()
    try:
        installation.cluster.helm(*command, stdin=json.dumps(values), timeout=150)
        yield installation
    finally:
        installation.keep_record()
        upgrade(installation, project_images)


def upgrade(installation: Installation, built: dict[str, Path]) -> None:
    """To the chart and the images of this tree, as `make cluster` does it."""
    contents = {name.split("/")[-1].split(":")[0]: archive.stem for name, archive in built.items()}
    tryout.install_chart(installation.cluster, contents)


def operators(installation: Installation) -> set[str]:
    """The tags of the operator's images that run, ending pods included."""
    pods = installation.kubectl.json("get", "pods", "--namespace", OPERATOR)["items"]
    return {container["image"].rpartition(":")[2] for pod in pods for container in pod["spec"]["containers"]}


@pytest.mark.promise("upgrade-stops-no-mail")
def test_an_upgrade_refuses_no_pod_and_loses_no_mail(
    older: Installation, steady: Team, project_images: dict[str, Path]
) -> None:
    eventually(lambda: operators(older) == {OLD}, "the older operator runs alone", within=90)
    sent = len(steady.mails())
    with older.team(restricted=False) as team, admissions.asked(older.kubectl, team.name) as seen:
        team.apply_mailer()
        team.apply(apps.deployment({"containers": [team.app(apps.ALWAYS)]}))
        team.rolled_out()
        eventually(lambda: seen.injected >= 20, "pods are injected before the upgrade")
        earlier = seen.injected
        upgrade(older, project_images)
        eventually(lambda: OLD not in operators(older), "the older pods are gone", within=90)
        eventually(lambda: seen.injected >= earlier + 50, "pods are injected after the upgrade")
        arrived = len(team.mails())
        mails = team.mails(atleast=arrived + 2)
        (pod,) = team.pods()
        assert apps.restarts(pod) == [0, 0]
        (numbers,) = apps.numbers(mails).values()
    assert numbers == list(range(1, len(numbers) + 1))
    assert seen.refused == []
    mails = steady.mails(atleast=sent + 4)
    assert {each["metadata"]["name"]: apps.restarts(each) for each in steady.pods()} == {
        name: [0, 0] for name in apps.numbers(mails)
    }
    assert all(each == list(range(1, len(each) + 1)) for each in apps.numbers(mails).values())
    assert len(older.pods(CONTROLLER)) == 1
    assert len(older.pods(WEBHOOK)) == 2
