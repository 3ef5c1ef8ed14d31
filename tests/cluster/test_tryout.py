"""`make cluster`, as a stranger types it: it ends when a mail has arrived, and what it says to type works.

Our own cluster stands for one that a stranger gives by a kubeconfig and a command that loads images.
"""

import json
import os
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_rig import given, tryout
from cluster_rig.choice import Cluster, choose
from cluster_rig.errors import StartError
from cluster_rig.node import NodeCluster
from support.cluster_fixtures import PREPARATIONS, need, prepared
from support.completeness import lacking
from support.waiting import eventually

from o365mailer_contract import names

RIG = Path(__file__).parents[2] / "rig"

pytestmark = pytest.mark.timeout(600)


NEEDED = ("node_cluster", "project_images", "python_image")
PREPARATIONS.update(said=lambda: [prepared(name) for name in NEEDED])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of its own: the other tests' has the product already."""
    for name in NEEDED:
        need(name)
    if given.VARIABLE in os.environ:
        lacking("only one cluster was given", f"the try-out needs one of its own: unset {given.VARIABLE}")
    with NodeCluster(name=f"tryout-{secrets.token_hex(3)}") as own:
        load = shlex.join(["env", f"PYTHONPATH={RIG}", sys.executable, "-m", "cluster_rig", "load", "--name", own.name])
        with choose("unused", {given.VARIABLE: str(own.kubeconfig), given.LOAD_VARIABLE: load}) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def said(cluster: Cluster) -> str:
    """What the first run printed."""
    return tryout.run(cluster)


def commands(text: str) -> list[list[str]]:
    """The commands that it says to type."""
    lines = (line.strip() for line in text.splitlines())
    return [shlex.split(line) for line in lines if line.startswith(("kubectl ", "o365mailer "))]


def test_it_ends_with_a_mail_in_the_mailbox_and_says_what_to_type(cluster: Cluster, said: str) -> None:
    assert re.search(r"the example app's mail is in the mailbox \([1-9]\d* so far\)", said)
    assert f"export KUBECONFIG={cluster.kubeconfig}" in said
    assert "Order 1 has shipped" in tryout.ask_emulator(cluster, "/")


def type_in(cluster: Cluster, command: list[str]) -> str:
    """What a command that it says to type prints."""
    places = f"{Path(sys.executable).parent}:{cluster.kubectl.program.parent}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": places, "KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def test_every_command_that_it_says_to_type_works(cluster: Cluster, said: str) -> None:
    typed = [command for command in commands(said) if not {"port-forward", "annotate"} & set(command)]
    assert [command[0] for command in typed].count("o365mailer") == 3
    assert len(typed) == 6
    for command in typed:
        assert type_in(cluster, command).strip(), command


def test_a_second_run_loads_nothing_restarts_nothing_and_ends_the_same(
    cluster: Cluster, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = cluster.kubectl("get", "pods", "--all-namespaces", "--output", "name")
    again = tryout.run(cluster)
    assert "loading" not in capfd.readouterr().err
    assert cluster.kubectl("get", "pods", "--all-namespaces", "--output", "name") == before
    assert commands(again) == commands(said)


@pytest.mark.promise("no-stored-secret")
def test_the_app_mails_without_a_stored_secret_after_the_command_that_it_says(cluster: Cluster, said: str) -> None:
    (command,) = (each for each in commands(said) if f"{names.INJECT_ANNOTATION}={tryout.SECRETLESS}" in each)
    issued = json.loads(tryout.ask_emulator(cluster, "/tokens"))["tokens"]
    federated = {token["uti"] for token in issued if token["credential"] == "federated"}
    assert federated

    def sent_with() -> set[str]:
        return {each["token"] for each in json.loads(tryout.ask_emulator(cluster, "/messages?content=0"))["messages"]}

    assert not sent_with() & federated
    type_in(cluster, command)
    eventually(lambda: sent_with() & federated, "a mail with a token that needed no secret", within=90, pause=1)


def test_a_failure_ends_with_what_the_cluster_says_about_it(
    cluster: Cluster, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tryout, "MAILER", "no-such-mailer")
    with pytest.raises(StartError) as failed:
        tryout.run(cluster)
    text = str(failed.value)
    assert text.startswith("waiting for the first mail failed: kubectl annotate o365mailer no-such-mailer")
    assert "$ kubectl get pods,o365mailers --all-namespaces" in text
    assert "o365mailer-controller-" in text
