"""`helm test` as a user calls it: it proves the installation, says why it fails, and leaves nothing in the cluster."""

import pytest
from cluster.apps import MAILER
from cluster.installation import OPERATOR, RELEASE, Installation
from cluster.team import Team

pytestmark = pytest.mark.timeout(300)

NAME = "o365mailer-helm-test"


def helm_test(installation: Installation) -> tuple[int, str]:
    """Its exit status, and all that it printed."""
    done = installation.cluster.helm.process("test", RELEASE, "--namespace", OPERATOR, "--timeout=150s", timeout=240)
    return done.returncode, done.stdout + done.stderr


def left(installation: Installation) -> str:
    """The namespaces and Jobs that it may have left."""
    found = installation.kubectl("get", "namespaces,jobs", "--all-namespaces", "--output=name")
    return "\n".join(name for name in found.splitlines() if name.endswith(f"/{NAME}"))


def test_without_a_mailer_it_shows_that_the_webhook_injects_and_the_relay_answers(installation: Installation) -> None:
    status, told = helm_test(installation)
    assert status == 0, told
    assert "451 4.3.5 The relay waits for its mailer" in told
    assert "passed: the webhook added the relay" in told
    assert left(installation) == ""


def test_with_a_mailer_it_mails_through_office_365(installation: Installation, team: Team) -> None:
    values = (f"test.mailer={team.name}/{MAILER}", f"test.sender={team.mailbox}", "test.recipient=admin@example.com")
    with installation.changed(*values):
        status, told = helm_test(installation)
    assert status == 0, told
    (mail,) = team.mails(atleast=1)
    assert (mail["reversePath"], mail["recipients"]) == (team.mailbox, ["admin@example.com"])
    assert left(installation) == ""


def test_a_pod_without_its_relay_fails_with_the_reason_and_leaves_nothing(installation: Installation) -> None:
    selector = "webhook.namespaceSelector.matchExpressions[0]"
    with installation.changed(f"{selector}.key=example.com/nowhere", f"{selector}.operator=Exists"):
        status, told = helm_test(installation)
    assert status != 0
    assert "FAILED: no relay on 127.0.0.1:25" in told
    assert left(installation) == ""
