"""From `kubectl apply` to a mail in the mailbox."""

import pytest
from cluster import apps
from cluster.apps import ANNOTATION, MAILER
from cluster.installation import Installation
from cluster.team import Team

from o365mailer_contract import names

pytestmark = [pytest.mark.timeout(300), pytest.mark.every_release]


@pytest.mark.promise("sidecar-starts-first")
def test_a_mailer_becomes_ready_and_an_annotated_app_of_ten_lines_mails(installation: Installation) -> None:
    with installation.team() as team:
        team.apply_mailer()
        assert len(apps.SEND.splitlines()) == 9
        team.apply(apps.deployment({"containers": [team.app(apps.ONCE_AND_STAY)]}))
        team.rolled_out()
        (mail,) = team.mails(atleast=1)
        assert mail["reversePath"] == team.mailbox
        assert mail["recipients"] == ["customer@example.com"]
        assert mail["tls"].startswith("TLSv1.")
        (pod,) = team.pods()
        assert pod["metadata"]["labels"][names.MAILER_LABEL] == MAILER
        assert pod["spec"]["initContainers"][0]["name"] == names.CONTAINER


@pytest.mark.promise("sidecar-starts-first", "workload-annotation-followed")
def test_kubectl_annotate_deployment_alone_gives_a_running_app_its_relay(team: Team) -> None:
    team.apply(apps.deployment({"containers": [team.app(apps.STAY)]}, annotated=False))
    team.rolled_out()
    (before,) = team.pods()
    assert "initContainers" not in before["spec"]
    team.kubectl("annotate", "deployment", "app", f"{ANNOTATION}={MAILER}")
    team.rolled_out()
    (after,) = (pod for pod in team.pods() if pod["metadata"]["name"] != before["metadata"]["name"])
    assert after["spec"]["initContainers"][0]["name"] == names.CONTAINER
    team.kubectl("exec", after["metadata"]["name"], "--container=app", "--", "python3", "-c", apps.ONCE)
    team.mails(atleast=1)


@pytest.mark.promise("sidecar-starts-first", "token-only-in-the-sidecar")
def test_an_app_that_was_there_before_its_mailer_mails_as_soon_as_that_is_ready(installation: Installation) -> None:
    with installation.team() as team:
        team.apply(apps.deployment({"containers": [team.app(apps.STAY)]}))
        team.rolled_out()
        (pod,) = team.pods()
        send = ("exec", pod["metadata"]["name"], "--container=app", "--", "python3", "-c", apps.ONCE)
        early = team.cluster.kubectl.process("--namespace", team.name, *send)
        assert "451, b'4.3.5 " in early.stderr, early.stderr
        team.apply_mailer()
        team.kubectl(
            *("exec", pod["metadata"]["name"], "--container=app", "--", "python3", "-c", UNTIL_TAKEN), timeout=60
        )
        team.mails(atleast=1)
        (after,) = team.pods()
        assert after["status"]["containerStatuses"] == pod["status"]["containerStatuses"]


UNTIL_TAKEN = f"""{apps.SEND}
import time
for attempt in range(40):
    try:
        send(1)
        break
    except smtplib.SMTPResponseException as refused:
        assert refused.smtp_code == 451
        time.sleep(1)
else:
    raise SystemExit("no mail was taken within 40 s")
"""
