"""A mailer without a stored secret: the API server issues the assertion, and the emulator checks it with its keys."""

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart.release import Manifest
from support.cluster_fixtures import need
from support.controller_process import ControllerProcess, Namespace
from support.rendered_chart import controller_rights
from support.waiting import eventually

from o365mailer_contract.names import WORKLOAD_IDENTITY_ANNOTATION

pytestmark = pytest.mark.promise("no-stored-secret")

Start = Callable[..., ControllerProcess]
Account = Callable[[list[Manifest]], Path]

EXAMPLE = Path(__file__).parents[2] / "examples" / "workload-identity.yaml"
AUDIENCE = "api://AzureADTokenExchange"
CREDENTIAL = {"workloadIdentity": {"serviceAccountRef": {"name": "mailer"}}}


def opt_in(namespace: Namespace, client_id: str | None = None) -> None:
    """Make the ServiceAccount anew: with another one's uid, no token of an earlier test is shared for a minute."""
    namespace.kubectl("delete", "serviceaccount", "mailer", "-n", namespace.name, "--ignore-not-found")
    metadata = {
        "name": "mailer",
        "annotations": {WORKLOAD_IDENTITY_ANNOTATION: client_id or namespace.emulator.client_id},
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    namespace.kubectl.apply(account, namespace=namespace.name)


def trust(namespace: Namespace, **other: Any) -> dict[str, Any]:
    """Let the application trust the ServiceAccount as the cluster's issuer names it, and nothing else."""
    discovered = json.loads(namespace.kubectl("get", "--raw", "/.well-known/openid-configuration"))
    keys = json.loads(namespace.kubectl("get", "--raw", "/openid/v1/jwks"))
    issuer = discovered["issuer"]
    subject = f"system:serviceaccount:{namespace.name}:mailer"
    credential = {"issuer": issuer, "subject": subject, "audiences": [AUDIENCE], **other}
    namespace.emulator.settings(issuers={issuer: {"jwks": keys}})
    namespace.emulator.control(
        "PATCH",
        f"/applications/{namespace.emulator.client_id}",
        {"secrets": [], "certificates": [], "federatedCredentials": [credential]},
    )
    return credential


@pytest.fixture
def trusted(namespace: Namespace) -> Namespace:
    """A namespace with a ServiceAccount that has opted in, and an application that trusts it alone."""
    opt_in(namespace)
    trust(namespace)
    return namespace


def test_a_mailer_without_any_stored_secret_gets_a_token(trusted: Namespace) -> None:
    trusted.apply_mailer(credential=CREDENTIAL)
    trusted.await_ready()
    assert [token["credential"] for token in trusted.emulator.tokens()] == ["federated"]
    issued = trusted.condition("TokenIssued")
    assert issued is not None
    assert issued["message"] == "Obtained with the ServiceAccount mailer."
    annotations = trusted.find("secret", "o365mailer.noreply")["metadata"]["annotations"]
    assert "o365mailer.dev/credential-fingerprint" in annotations


def test_the_example_is_one_and_its_service_account_has_opted_in(namespace: Namespace) -> None:
    objects = list(yaml.safe_load_all(EXAMPLE.read_text()))
    account, mailer = objects
    assert account["metadata"]["annotations"] == {WORKLOAD_IDENTITY_ANNOTATION: mailer["spec"]["clientId"]}
    named = mailer["spec"]["credential"]["workloadIdentity"]["serviceAccountRef"]["name"]
    assert account["metadata"]["name"] == named
    for each in objects:
        each["metadata"]["namespace"] = namespace.name
    told = namespace.kubectl(
        "apply", "--dry-run=server", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    )
    assert "o365mailer.o365mailer.dev/secretless" in told


def other_keys(namespace: Namespace) -> None:
    """The issuer publishes the keys of another cluster."""
    keys = json.loads(namespace.kubectl("get", "--raw", "/openid/v1/jwks"))
    keys["keys"][0]["kid"] = "another"
    issuer = trust(namespace)["issuer"]
    namespace.emulator.settings(issuers={issuer: {"jwks": keys}})


def no_trust(namespace: Namespace) -> None:
    """The application trusts nothing yet."""
    trust(namespace)
    change = {"federatedCredentials": []}
    namespace.emulator.control("PATCH", f"/applications/{namespace.emulator.client_id}", change)


def shouted(namespace: Namespace) -> None:
    """The subject is right but for upper case."""
    trust(namespace, subject=f"system:serviceaccount:{namespace.name}:Mailer")


def private(namespace: Namespace) -> None:
    """Entra cannot fetch the issuer's documents."""
    namespace.emulator.settings(issuers={trust(namespace)["issuer"]: {}})


def late(namespace: Namespace) -> None:
    """By Entra's clock the API server's token has ended: the clock of one of them is wrong."""
    trust(namespace)
    namespace.emulator.settings(clockOffset=3600)


WRONG: dict[str, tuple[Callable[[Namespace], Any], str, list[str]]] = {
    "no federated credential": (no_trust, "AADSTS70025", ["there is no federated credential of the application"]),
    "issuer": (
        lambda namespace: trust(namespace, issuer="https://kubernetes.default.svc.cluster.local/"),
        "AADSTS700211",
        ["its issuer is in no federated credential", "final slash"],
    ),
    "subject": (
        lambda namespace: trust(namespace, subject="system:serviceaccount:elsewhere:mailer"),
        "AADSTS700213",
        ["its subject is in no federated credential"],
    ),
    "subject's case": (shouted, "AADSTS7002138", ["its subject differs in upper and lower case"]),
    "audience": (
        lambda namespace: trust(namespace, audiences=["api://AzureADTokenExchangeChina"]),
        "AADSTS700212",
        ["its audience is in no federated credential"],
    ),
    "keys": (other_keys, "AADSTS50013", ["not made with a key that the issuer publishes", "/openid/v1/jwks"]),
    "clock": (
        late,
        "AADSTS700024",
        ["the assertion is outside its validity", "with a workload identity those of the API servers"],
    ),
    "a private issuer": (private, "AADSTS90061", ["cannot fetch the issuer's documents", "openid-configuration"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_entra_does_not_trust_is_told_with_what_it_was_shown(namespace: Namespace, case: str) -> None:
    prepare, reason, parts = WRONG[case]
    opt_in(namespace)
    prepare(namespace)
    namespace.apply_mailer(credential=CREDENTIAL)
    message = namespace.await_condition(reason)["message"]
    issuer, subject = "https://kubernetes.default.svc.cluster.local", f"system:serviceaccount:{namespace.name}:mailer"
    assert f"(issuer {issuer}, subject {subject}, audience {AUDIENCE})" in message
    for part in parts:
        assert part in message
    if "federated credential" in message:
        created = {
            "name": f"{namespace.name}-mailer",
            "issuer": issuer,
            "subject": subject,
            "audiences": [AUDIENCE],
        }
        command = f"az ad app federated-credential create --id {namespace.emulator.client_id} --parameters "
        assert f"{command}'{json.dumps(created)}'" in message
    assert "eyJ" not in message, "a part of the assertion"
    again = datetime.datetime.fromisoformat(namespace.find("o365mailer", "noreply")["status"]["nextRefresh"])
    assert again - datetime.datetime.now(datetime.UTC) < datetime.timedelta(seconds=75)


def test_without_a_service_account_it_says_how_to_make_one(namespace: Namespace) -> None:
    namespace.kubectl("delete", "serviceaccount", "mailer", "-n", namespace.name, "--ignore-not-found")
    namespace.apply_mailer(credential=CREDENTIAL)
    message = namespace.await_condition("ServiceAccountNotFound")["message"]
    assert "There is no ServiceAccount mailer" in message
    assert "kubectl create serviceaccount mailer" in message


@pytest.mark.parametrize("given", ["nothing", "another client id"])
def test_a_service_account_that_has_not_opted_in_is_not_used(namespace: Namespace, given: str) -> None:
    trust(namespace)
    opt_in(namespace, "99999999-9999-4999-8999-999999999999")
    if given == "nothing":
        annotation = f"{WORKLOAD_IDENTITY_ANNOTATION}-"
        namespace.kubectl("annotate", "serviceaccount", "mailer", "-n", namespace.name, annotation)
    namespace.apply_mailer(credential=CREDENTIAL)
    message = namespace.await_condition("ServiceAccountNotOptedIn")["message"]
    assert namespace.emulator.counters()["tokensIssued"] == 0
    assert ("is missing" in message) == (given == "nothing")
    _, _, command = message.partition("run: ")
    assert command.startswith("kubectl annotate")
    namespace.kubectl(*command.split()[1:])
    namespace.await_ready()


def test_a_service_account_that_was_made_anew_gets_a_new_token_and_the_old_one_is_used_until_then(
    trusted: Namespace,
) -> None:
    trusted.apply_mailer(credential=CREDENTIAL)
    trusted.await_ready()
    before = trusted.files()
    trusted.kubectl("delete", "serviceaccount", "mailer", "-n", trusted.name)
    ready = trusted.await_condition("RefreshFailing")
    assert (ready["status"], trusted.files()) == ("True", before)
    opt_in(trusted)
    trusted.await_ready()
    eventually(lambda: trusted.files() != before, what="a token of the new ServiceAccount")
    assert trusted.emulator.counters()["tokensIssued"] == 2


def test_a_label_on_the_service_account_mints_nothing(trusted: Namespace) -> None:
    trusted.apply_mailer(credential=CREDENTIAL)
    trusted.await_ready()
    issued = trusted.emulator.counters()["tokensIssued"]
    trusted.kubectl("label", "serviceaccount", "mailer", "-n", trusted.name, "team=shop", "--overwrite")
    trusted.apply_mailer(credential=CREDENTIAL, limits={"connections": 1})
    eventually(lambda: trusted.settings()["limits"]["connections"] == 1)
    assert trusted.emulator.counters()["tokensIssued"] == issued


def granted(namespace: str, *, values: bool, request: bool = True) -> list[Manifest]:
    """What the chart grants, with or without the ServiceAccount in its values or the right to request its tokens."""
    named = [f"workloadIdentity.serviceAccounts[0].{part}" for part in (f"namespace={namespace}", "name=mailer")]
    rights = controller_rights(namespace, f"watchNamespaces={{{namespace}}}", *(named if values else ()))
    for rule in (rule for each in rights for rule in each.get("rules", ())):
        if "serviceaccounts/token" in rule["resources"] and not request:
            rule["resources"] = ["serviceaccounts"]
    return rights


@pytest.mark.promise("least-rights")
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"values": False}, "ServiceAccountUnreadable"),
        ({"values": True, "request": False}, "TokenRequestForbidden"),
        ({"values": True}, "TokenValid"),
    ],
    ids=["no right", "reading alone", "both"],
)
def test_a_missing_right_is_told_with_the_charts_value(
    own_namespace: Namespace,
    start_controller: Start,
    account: Account,
    given: dict[str, bool],
    reason: str,
) -> None:
    need("rights")
    opt_in(own_namespace)
    trust(own_namespace)
    start_controller(kubeconfig=account(granted(own_namespace.name, **given))).wait_until_leading()
    own_namespace.apply_mailer(credential=CREDENTIAL)
    ready = own_namespace.await_condition(reason)
    if reason != "TokenValid":
        assert "workloadIdentity.serviceAccounts" in ready["message"]
        assert f"{{namespace: {own_namespace.name}, name: mailer}}" in ready["message"]
