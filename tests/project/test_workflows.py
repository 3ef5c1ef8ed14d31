"""The workflows call our own verbs, pin what they use, and may do no more than they need."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_rig.releases import RELEASES

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ZIZMOR = Path(sys.executable).with_name("zizmor")
VERB = re.compile(r"\bmake(?: --silent)? ([a-z][a-z-]*)")
COMMAND = re.compile(rf"^{VERB.pattern}", re.MULTILINE)
WRITES = {
    ("release.yml", "images"): {"id-token", "attestations"},
    ("release.yml", "chart"): {"id-token"},
    ("release.yml", "pypi"): {"id-token"},
    ("release.yml", "github"): {"contents", "id-token", "attestations"},
    ("locks.yml", "propose"): {"contents", "pull-requests"},
}
"""What a job may write. No job that runs dependencies' code is here, except where it signs what it has built."""


def verbs() -> set[str]:
    """The verbs of the Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def read(path: Path) -> dict[Any, Any]:
    """A workflow; YAML reads its key `on` as true."""
    return dict(yaml.safe_load(path.read_text()))


def steps(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The steps of all jobs of a workflow, with the job's name."""
    for name, job in read(path)["jobs"].items():
        for step in job["steps"]:
            yield name, step


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request: pytest.FixtureRequest) -> Path:
    """One workflow after the other."""
    return Path(request.param)


def test_every_verb_that_a_workflow_calls_is_in_the_makefile(workflow: Path) -> None:
    called = {verb for _, step in steps(workflow) for verb in COMMAND.findall(step.get("run", ""))}
    assert called
    assert called <= verbs()


def test_other_files_that_call_verbs_call_ones_that_exist() -> None:
    for name in (".pre-commit-config.yaml", ".devcontainer/devcontainer.json", ".ci/run"):
        called = set(VERB.findall((ROOT / name).read_text()))
        assert called, name
        assert called <= verbs() | {"sure"}, name


def test_every_action_is_pinned_by_its_commit_and_says_its_version(workflow: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", workflow.read_text())
    assert len(used) == len([step for _, step in steps(workflow) if "uses" in step]) > 0
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


def test_one_action_has_one_version() -> None:
    pins = {action for path in WORKFLOWS for action in re.findall(r"uses: (\S+)", path.read_text())}
    assert len({pin.partition("@")[0] for pin in pins}) == len(pins)


def test_a_job_may_write_what_it_must_and_nothing_else(workflow: Path) -> None:
    document = read(workflow)
    assert document["permissions"] == {}
    for name, job in document["jobs"].items():
        writes = {scope for scope, right in job["permissions"].items() if right == "write"}
        assert writes == WRITES.get((workflow.name, name), set()), name
        assert job["timeout-minutes"] <= 90


def test_ci_selects_tests_in_no_way_that_it_counts_as_left_out() -> None:
    """With CI=true, as on every runner, a skipped or deselected test fails the run (tests/support/completeness.py)."""
    ci = ROOT / ".github/workflows/ci.yml"
    calls = [step["run"] for _, step in steps(ci) if "pytest" in step.get("run", "")]
    assert calls
    lines = [*calls, *(line for line in (ROOT / "Makefile").read_text().splitlines() if "pytest" in line)]
    assert not [line for line in lines if re.search(r" (-[mk]|--deselect)\b", line.partition("pytest")[2])]
    given = next(call for call in calls if "tests/cluster" in call)
    ignored = re.findall(r"--ignore(?:-glob)?='?(?:tests/cluster|\*)/([\w*.]+)", given)
    skipping = [path for path in (ROOT / "tests/cluster").glob("test_*.py") if "lacking(" in path.read_text()]
    assert skipping
    assert all(any(path.match(pattern) for pattern in ignored) for path in skipping)


def test_ci_runs_the_pythons_and_the_kubernetes_minors_that_support_names() -> None:
    jobs = read(ROOT / ".github/workflows/ci.yml")["jobs"]
    support = (ROOT / "SUPPORT.md").read_text()
    pythons = jobs["python"]["strategy"]["matrix"]["python"]
    releases = jobs["kubernetes"]["strategy"]["matrix"]["kubernetes"]
    assert releases == [release.version for release in RELEASES]
    kubernetes = [release.minor for release in RELEASES]
    assert f"| {pythons[0]} to {pythons[-1]} |" in support
    assert f"| {kubernetes[0]} to {kubernetes[-1]} |" in support
    for versions in (pythons, kubernetes):
        minors = [int(version.partition(".")[2]) for version in versions]
        assert minors == list(range(minors[0], minors[-1] + 1))
    assert f'requires-python = ">={pythons[0]}"' in (ROOT / "pyproject.toml").read_text()
    assert f'kubeVersion: ">={kubernetes[0]}.0-0"' in (ROOT / "charts/o365mailer/Chart.yaml").read_text()


def test_zizmor_finds_no_hole_and_finds_a_planted_one(tmp_path: Path) -> None:
    def zizmor(path: Path) -> int:
        command = [ZIZMOR, "--offline", "--no-progress", "--quiet", path]
        return subprocess.run(command, capture_output=True, timeout=60).returncode

    assert zizmor(ROOT / ".github") == 0
    planted = tmp_path / ".github" / "workflows" / "ci.yml"
    planted.parent.mkdir(parents=True)
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    planted.write_text(text.replace("run: make check", "run: echo ${{ github.event.pull_request.title }}", 1))
    assert zizmor(tmp_path / ".github") != 0


def test_files_that_only_their_hosts_read_can_be_read() -> None:
    for path in (*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"):
        assert yaml.safe_load(path.read_text()), path
    devcontainer = (ROOT / ".devcontainer/devcontainer.json").read_text()
    assert json.loads(re.sub(r"^\s*//.*$", "", devcontainer, flags=re.MULTILINE))["image"]
    assert "support-bundle" in (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text()


def test_renovate_needs_no_command_of_ours() -> None:
    """The hosted app runs no postUpgradeTasks, so Python packages are not its work."""
    renovate = json.loads((ROOT / "renovate.json").read_text())
    assert "postUpgradeTasks" not in renovate
    assert not renovate["pep621"]["enabled"]
    assert any("make lock" in step.get("run", "") for _, step in steps(ROOT / ".github/workflows/locks.yml"))
