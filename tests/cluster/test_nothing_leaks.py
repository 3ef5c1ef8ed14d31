"""No secret, no token and no body is said anywhere: looked for in all that every test before has left behind."""

import pytest
from cluster import apps
from cluster.installation import CONTROLLER, OPERATOR, WEBHOOK, Installation
from cluster.record import Record
from cluster.team import Team

from o365mailer_contract import names

pytestmark = pytest.mark.timeout(300)

WRONG = "canary-wrong-client-secret-not-a-secret"


def wrong_credential(team: Team) -> None:
    """A second mailer, whose client secret Entra refuses: what is said about it must not repeat it."""
    mailer = team.mailer()
    mailer["metadata"]["name"] = "refused"
    mailer["spec"]["credential"]["clientSecret"]["secretRefs"][0]["name"] = "wrong"
    secret = {"metadata": {"name": "wrong"}, "stringData": {"client-secret": WRONG}}
    team.apply({"apiVersion": "v1", "kind": "Secret", **secret}, mailer)
    reason = "jsonpath={.status.conditions[?(@.type=='Ready')].reason}=AADSTS7000215"
    team.kubectl("wait", "o365mailer/refused", f"--for={reason}", "--timeout=60s")


@pytest.mark.promise("secrets-stay-secret")
def test_no_secret_token_or_body_is_in_any_log_event_status_or_metric(installation: Installation, team: Team) -> None:
    wrong_credential(team)
    app = team.app(apps.ONCE_AND_STAY)
    team.apply(apps.deployment({"containers": [app]}))
    team.rolled_out()
    team.mails(atleast=1)
    (pod,) = team.pods()
    refused = [*("exec", pod["metadata"]["name"], "--container=app", "--", "python3", "-c"), SEND_AS_ANOTHER]
    done = installation.kubectl.process("--namespace", team.name, *refused)
    assert "SMTPDataError" in done.stderr or "SMTPSenderRefused" in done.stderr, done.stderr
    for each in (team, installation.steady):
        each.keep_record()
    installation.keep_record()
    record = installation.record
    record.forbid({"wrong client secret": WRONG, "webhook's key": key_of_the_webhook(installation)})
    everything_was_looked_at(installation, record, team)
    assert record.leaks() == []


SEND_AS_ANOTHER = f"{apps.SEND}\nos.environ['MAIL_FROM'] = 'somebody-else@contoso.com'\nsend(1)\n"


def key_of_the_webhook(installation: Installation) -> str:
    """A line of the private key's PEM."""
    path = f"--output=go-template={{{{index .data {names.CA_SECRET_KEY!r} | base64decode}}}}".replace("'", '"')
    pem = installation.kubectl("get", "secret", names.CA_SECRET, "--namespace", OPERATOR, path)
    return pem.splitlines()[1]


def everything_was_looked_at(installation: Installation, record: Record, team: Team) -> None:
    """The search has something to search in."""
    said = {where for where, text in record.texts.items() if text}
    for role in (CONTROLLER, WEBHOOK):
        for pod in installation.pods(role):
            assert {f"log of {pod}/{role} in {OPERATOR}", f"metrics of {pod} in {OPERATOR}"} <= said
    (pod,) = (each["metadata"]["name"] for each in team.pods())
    places = (f"log of {pod}/{names.CONTAINER}", f"log of {pod}/app", f"metrics of {pod}", "Events", "status")
    assert {f"{place} in {team.name}" for place in places} <= said
    kinds = {what.partition(" of ")[0] for what in record.canaries.values()}
    assert {"token", "client secret", "body"} <= kinds


@pytest.mark.promise("secrets-stay-secret")
def test_the_same_search_finds_what_is_planted(installation: Installation) -> None:
    with installation.team() as team:
        tell = (
            f"import base64\nprint({WRONG!r})\nprint(base64.b64encode(b'Basic: ' + {team.secret!r}.encode()).decode())"
        )
        annotated = apps.pod("teller", {"containers": [team.app(f"{tell}\n{apps.STAY}")]}, annotated=False)
        annotated["metadata"]["annotations"] = {"example.com/note": f"it says {team.body}"}
        team.apply(annotated)
        team.kubectl("wait", "pod/teller", "--for=condition=Ready", "--timeout=60s")
        record = Record()
        record.forbid({"wrong": WRONG, "encoded": team.secret, "body": team.body, "absent": "canary-nowhere"})
        record.keep_namespace(installation.kubectl, team.name)
        assert record.leaks() == [
            f"wrong in the log of teller/app in {team.name}",
            f"encoded in the log of teller/app in {team.name}",
            f"body in the status in {team.name}",
        ]
        team.kubectl("delete", "pod", "teller", "--grace-period=0", "--force")
