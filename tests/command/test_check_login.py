"""`check NAME` and `check --login`: the logins of the cluster's mailers, tried with the user's own rights."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.emulator_client import EmulatorClient

from command.team import Ask, Team, Told
from o365mailer_contract.names import WORKLOAD_IDENTITY_ANNOTATION

EMULATOR = ("--allow-authority-host", "127.0.0.1", "--allow-submission-host", "127.0.0.1")
LOGIN = ("credential", "entra.", "clock", "smtp.", "token.", "login")


@pytest.fixture
def mailers(team: Team, emulator: EmulatorClient) -> Callable[..., None]:
    """Creates mailers for the emulator, with their Secrets."""
    literal = f"--from-literal=secret={emulator.client_secret}"
    team.kubectl("create", "secret", "generic", "entra", literal, "-n", team.namespace)
    team.kubectl(
        "create", "secret", "generic", "emulator", f"--from-file=ca.crt={emulator.ca_file}", "-n", team.namespace
    )

    def create(*names: str, **spec: Any) -> None:
        authority = {"name": "emulator"}
        for name in names:
            emulator.control("PATCH", f"/mailboxes/{name}@contoso.com", {"applications": [emulator.client_id]})
            members = {
                "tenantId": emulator.tenant,
                "authority": {"url": emulator.authority, "ca": {"secretRef": authority}},
                "submission": {"host": emulator.smtp_host, "port": emulator.smtp_port, "ca": {"secretRef": authority}},
            }
            team.mailer(name, **{**members, **spec})

    return create


def logins(told: Told) -> list[tuple[str, str, str]]:
    """Name, status and subject of what was found out about logins."""
    findings = [finding for group in told.json["groups"] for finding in group["findings"]]
    return [(each["name"], each["status"], each["subject"]) for each in findings if each["name"].startswith(LOGIN)]


def titles(told: Told, name: str) -> list[str]:
    findings = [finding for group in told.json["groups"] for finding in group["findings"]]
    return [finding["title"] for finding in findings if finding["name"] == name]


def test_the_login_of_a_named_mailer_is_tried(
    ask: Ask, team: Team, emulator: EmulatorClient, mailers: Callable[..., None]
) -> None:
    mailers("noreply", "billing")
    told = ask("check", "noreply", *EMULATOR, "-n", team.namespace, "-o", "json")
    subject = f"{team.namespace}/noreply"
    assert logins(told) == [
        ("login.mailer", "ok", subject),
        ("entra.https", "ok", ""),
        ("clock", "ok", ""),
        ("smtp.connect", "ok", ""),
        ("smtp.tls", "ok", ""),
        ("token.issued", "ok", subject),
        ("login", "ok", subject),
        ("login.message", "unknown", ""),
    ]
    assert titles(told, "login.mailer") == [
        "its Secrets were read with your own rights, to try its login from this machine"
    ]
    assert f"o365mailer send-test noreply -n {team.namespace}" in told.out
    assert emulator.client_secret not in told.out


def test_without_a_name_no_login_is_tried(
    ask: Ask, team: Team, emulator: EmulatorClient, mailers: Callable[..., None]
) -> None:
    mailers("noreply")
    assert logins(ask("check", "-n", team.namespace, "-o", "json")) == []
    assert emulator.counters()["tokensIssued"] == 0


@pytest.mark.promise("check-names-the-fault")
def test_a_fault_is_told_with_the_mailers_own_ids(
    ask: Ask, team: Team, emulator: EmulatorClient, mailers: Callable[..., None]
) -> None:
    mailers("noreply")
    emulator.control("PATCH", f"/applications/{emulator.client_id}", {"servicePrincipal": None})
    told = ask("check", "noreply", *EMULATOR, "-n", team.namespace)
    assert told.status == 1
    assert (
        f"New-ServicePrincipal -AppId {emulator.client_id} -ObjectId 33333333-3333-4333-8333-333333333333" in told.out
    )


def test_a_user_who_may_not_read_secrets_is_told_so(
    ask: Ask, team: Team, emulator: EmulatorClient, mailers: Callable[..., None], user: Callable[..., Path]
) -> None:
    mailers("noreply", "billing")
    viewer = user("o365mailer-viewer")
    told = ask("check", "--login", *EMULATOR, "-n", team.namespace, "-o", "json", kubeconfig=viewer)
    assert logins(told) == [("credential", "unknown", "")]
    (title,) = titles(told, "credential")
    assert f"{team.namespace}/billing, {team.namespace}/noreply cannot be tried from here" in title
    assert emulator.counters()["tokensIssued"] == 0


def test_a_mailer_sends_its_secret_to_no_host_that_the_user_did_not_name(
    ask: Ask, team: Team, emulator: EmulatorClient, mailers: Callable[..., None]
) -> None:
    """Its author may have no right to the Secret, and the user of the command has."""
    mailers("noreply")
    mailers("stolen", authority={})  # the token, rather than the secret, would go to the host
    told = ask("check", "--login", "-n", team.namespace, "-o", "json")
    assert logins(told) == [("login", "unknown", f"{team.namespace}/{name}") for name in ("noreply", "stolen")]
    tried = [each for group in told.json["groups"] for each in group["findings"] if each["name"] == "login"]
    causes, remedies = ([each[part] for each in tried] for part in ("cause", "remedy"))
    assert causes[0].startswith("spec.authority.url names 127.0.0.1:")
    assert causes[1].startswith("spec.submission.host names 127.0.0.1:")
    assert "client secret, name it: --allow-authority-host HOST." in remedies[0]
    assert "token, name it: --allow-submission-host HOST." in remedies[1]
    counters = emulator.counters()
    assert (counters["tokensIssued"], counters["authOk"]) == (0, 0)


@pytest.mark.promise("no-stored-secret")
def test_the_login_with_a_service_account_is_tried_with_the_users_own_right_to_its_tokens(
    ask: Ask, team: Team, emulator: EmulatorClient, mailers: Callable[..., None], user: Callable[..., Path]
) -> None:
    mailers("noreply", credential={"workloadIdentity": {"serviceAccountRef": {"name": "mailer"}}})
    team.kubectl("create", "serviceaccount", "mailer", "-n", team.namespace)
    check = ("check", "noreply", *EMULATOR, "-n", team.namespace, "-o", "json")
    assert "does not allow this application" in ask(*check).out
    annotation = f"{WORKLOAD_IDENTITY_ANNOTATION}={emulator.client_id}"
    team.kubectl("annotate", "serviceaccount", "mailer", annotation, "-n", team.namespace)
    told = ask(*check)
    assert ("token.issued", "failed", f"{team.namespace}/noreply") in logins(told)
    assert "az ad app federated-credential create" in told.out

    issuer = json.loads(team.kubectl("get", "--raw", "/.well-known/openid-configuration"))["issuer"]
    keys = json.loads(team.kubectl("get", "--raw", "/openid/v1/jwks"))
    emulator.settings(issuers={issuer: {"jwks": keys}})
    trusted = {"issuer": issuer, "subject": f"system:serviceaccount:{team.namespace}:mailer"}
    emulator.control("PATCH", f"/applications/{emulator.client_id}", {"federatedCredentials": [trusted]})
    assert ("login", "ok", f"{team.namespace}/noreply") in logins(ask(*check))

    reader = user("o365mailer-viewer")
    where = ("-n", team.namespace)
    team.kubectl("create", "role", "reader", "--verb=get", "--resource=secrets,serviceaccounts", *where)
    bound = f"--serviceaccount={team.namespace}:{reader.stem}"
    team.kubectl("create", "rolebinding", "reader", "--role=reader", bound, *where)
    denied = ask(*check, kubeconfig=reader)
    assert ("token.issued", "unknown", f"{team.namespace}/noreply") in logins(denied)
    assert "ask for the right to create serviceaccounts/token" in denied.out

    assert f"$Issuer = '{issuer}'" in ask("setup", "noreply", *where).out


def test_a_secret_that_is_not_there(ask: Ask, team: Team, mailers: Callable[..., None]) -> None:
    mailers("noreply", credential={"clientSecret": {"secretRefs": [{"name": "absent", "key": "secret"}]}})
    told = ask("check", "noreply", *EMULATOR, "-n", team.namespace, "-o", "json")
    assert ("credential", "failed", f"{team.namespace}/noreply") in logins(told)
    assert titles(told, "credential") == ["its credential cannot be used (SecretNotFound)"]


def test_a_suspended_mailer_is_left_alone(
    ask: Ask, team: Team, emulator: EmulatorClient, mailers: Callable[..., None]
) -> None:
    mailers("noreply", suspend=True)
    assert logins(ask("check", "--login", *EMULATOR, "-n", team.namespace, "-o", "json")) == []
    assert emulator.counters()["tokensIssued"] == 0


@pytest.mark.serial
def test_twenty_mailers_are_tried_within_seconds(
    ask: Ask, team: Team, emulator: EmulatorClient, mailers: Callable[..., None]
) -> None:
    """They share an application, so one token request serves them all, also where Entra takes its usual time."""
    mailers(*(f"mailer-{number}" for number in range(20)))
    emulator.script("token", delay=0.45, times=None)
    began = time.monotonic()
    told = ask("check", "--login", *EMULATOR, "-n", team.namespace, "-o", "json")
    took = time.monotonic() - began
    assert [status for name, status, _ in logins(told) if name == "login"] == ["ok"] * 20
    counters = emulator.counters()
    assert (counters["tokensIssued"], counters["authOk"]) == (1, 20)
    assert took < 5, f"{took:.1f} s"
