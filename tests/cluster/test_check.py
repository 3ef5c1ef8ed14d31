"""`o365mailer check` and `support-bundle` on a cluster with a node, where all is well."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from cluster import apps
from cluster.installation import CONTROLLER, OPERATOR, WEBHOOK, Installation
from cluster.record import Record
from cluster.team import Team

from o365mailer_contract import names

pytestmark = pytest.mark.timeout(300)


def command(installation: Installation, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as the cluster's administrator."""
    environment = {**os.environ, "KUBECONFIG": str(installation.cluster.kubeconfig)}
    program = [sys.executable, "-m", "o365mailer_cli.main", *arguments]
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_healthy_cluster_has_only_what_is_well(installation: Installation, team: Team) -> None:
    team.apply(apps.deployment({"containers": [team.app(apps.ONCE_AND_STAY)]}, replicas=2))
    team.rolled_out()
    team.mails(atleast=2)
    done = command(installation, "check", "-n", team.name, "-o", "json")
    groups = json.loads(done.stdout)["groups"]
    findings = [finding for group in groups for finding in group["findings"]]
    assert [each for each in findings if each["status"] != "ok"] == []
    assert done.returncode == 0
    titles = " / ".join(each["title"] for each in findings)
    for fact in ("kubelet can run the relay", "Service has", "dry run", "2 pods have the newest token and relay"):
        assert fact in titles


@pytest.mark.promise("bundle-holds-no-secret")
def test_the_bundle_has_the_logs_and_nothing_that_is_secret(
    installation: Installation, team: Team, tmp_path: Path
) -> None:
    team.apply(apps.deployment({"containers": [team.app(apps.ONCE_AND_STAY)]}))
    team.rolled_out()
    team.mails(atleast=1)
    team.keep_record()
    path = tmp_path / "bundle.tar.gz"
    done = command(installation, "support-bundle", "-n", team.name, "--file", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    with tarfile.open(path) as archive:
        files = {
            member.name.partition("/")[2]: stream.read().decode()
            for member in archive.getmembers()
            if (stream := archive.extractfile(member)) is not None
        }
    record = Record(texts=files, canaries=dict(installation.record.canaries))
    record.forbid({"secret": team.secret, "body": team.body, "address": team.mailbox})
    assert len(record.canaries) > 3
    assert record.leaks() == []
    assert json.loads(files["problems.json"]) == []

    (pod,) = (each["metadata"]["name"] for each in team.pods())
    log = files[f"logs/{team.name}/{pod}.{names.CONTAINER}.jsonl"].splitlines()
    assert [json.loads(line)["event"] for line in log if "outcome" in json.loads(line)] == ["message"]
    assert json.loads(log[-1]) == {"linesLeftOut": 0}
    assert "o365mailer_mailer_ready 1" in files[f"metrics/{team.name}/{pod}.txt"]
    for role in (CONTROLLER, WEBHOOK):
        for each in installation.pods(role):
            assert files[f"logs/{OPERATOR}/{each}.{role}.jsonl"].count("\n") > 2
            assert "o365mailer_" in files[f"metrics/{OPERATOR}/{each}.txt"]
