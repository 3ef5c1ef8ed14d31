"""A ServiceAccount as the credential: what it must say, what is asked of the API server, and what a refusal shows."""

import base64
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from support.foreign_entra import Reply, discovery, foreign
from support.held import Held
from support.refused import refused

from o365mailer_operator.token.credential import ServiceAccount, fingerprint, has_fingerprint
from o365mailer_operator.token.endpoints import AllowedHosts
from o365mailer_operator.token.entra import Entra
from o365mailer_operator.token.errors import SERVICE_ACCOUNT_UNREADABLE, ServiceAccountError, TokenError
from o365mailer_operator.token.federated import WorkloadIdentity
from o365mailer_operator.token.grant import Grant, grant_of, needs_of, read_credential
from o365mailer_operator.token.spec import decode_spec

pytestmark = pytest.mark.promise("no-stored-secret")

SpecMaker = Callable[..., dict[str, Any]]

CLIENT = "22222222-2222-4222-8222-222222222222"
ACCOUNT = ServiceAccount(namespace="shop", name="mailer", uid="uid-1", client_id=CLIENT)
CREDENTIAL = {"workloadIdentity": {"serviceAccountRef": {"name": "mailer"}}}
NOT_ALLOWED = (
    "The ServiceAccount mailer does not allow this application: its annotation o365mailer.dev/workload-identity"
)
TOKEN = json.dumps({"access_token": "a.b.c", "token_type": "Bearer", "expires_in": 3600})


def assertion(**claims: Any) -> str:
    """A token as the API server writes it. The signature is none."""
    said = {
        "iss": "https://oidc.example/cluster/",
        "sub": "system:serviceaccount:shop:mailer",
        "aud": ["api://AzureADTokenExchange"],
        "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "mailer", "uid": "uid-1"}},
        **claims,
    }
    return f"eyJ.{base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip('=')}.canary"


class Kubernetes:
    """Gives tokens of ServiceAccounts, and notes what for."""

    def __init__(self, **claims: Any) -> None:
        self.token = assertion(**claims)
        self.asked: list[tuple[ServiceAccount, str]] = []

    async def request_token(self, account: ServiceAccount, audience: str) -> str:
        """Notes the request."""
        self.asked.append((account, audience))
        return self.token


def grant(spec_of: SpecMaker, account: ServiceAccount | None = ACCOUNT, **spec: Any) -> Grant:
    """The grant of a mailer with this ServiceAccount."""
    accounts = {"mailer": account} if account else {}
    return grant_of(
        decode_spec(spec_of(credential=CREDENTIAL, **spec)), Held(service_accounts=accounts), allowed=AllowedHosts()
    )


def test_a_spec_needs_the_service_account_that_it_names(spec_of: SpecMaker) -> None:
    assert {(need.kind, need.name) for need in needs_of(decode_spec(spec_of(credential=CREDENTIAL)))} == {
        ("ServiceAccount", "mailer")
    }


@pytest.mark.parametrize(
    ("client_id", "message"),
    [
        (
            "",
            (
                f"{NOT_ALLOWED} is missing. To allow it, run: kubectl annotate serviceaccount mailer --namespace shop "
                f"o365mailer.dev/workload-identity={CLIENT}"
            ),
        ),
        (
            "another\x1b",
            (
                f"{NOT_ALLOWED} is another, and not the mailer's spec.clientId. To allow it, run: kubectl annotate "
                f"--overwrite serviceaccount mailer --namespace shop o365mailer.dev/workload-identity={CLIENT}"
            ),
        ),
    ],
)
def test_a_service_account_that_allows_another_or_no_application_is_refused_with_the_command(
    spec_of: SpecMaker, client_id: str, message: str
) -> None:
    with refused("ServiceAccountNotOptedIn") as caught:
        grant(spec_of, dataclasses.replace(ACCOUNT, client_id=client_id))

    assert str(caught.value) == message
    assert grant(spec_of, dataclasses.replace(ACCOUNT, client_id=CLIENT.upper()))


def test_a_missing_service_account_is_told(spec_of: SpecMaker) -> None:
    with refused("ServiceAccountNotFound", match="kubectl create serviceaccount mailer"):
        grant(spec_of, None)


def test_the_fingerprint_is_of_the_uid_and_the_annotation(spec_of: SpecMaker) -> None:
    def credential(account: ServiceAccount) -> WorkloadIdentity:
        spec = decode_spec(spec_of(credential=CREDENTIAL))
        found = read_credential(spec, Held(service_accounts={"mailer": account}))
        assert isinstance(found, WorkloadIdentity)
        return found

    text = fingerprint(credential(ACCOUNT), salt=bytes(16))
    assert has_fingerprint(credential(ACCOUNT), text)
    assert not has_fingerprint(credential(dataclasses.replace(ACCOUNT, uid="uid-2")), text)


@pytest.mark.parametrize(
    ("cloud", "audience"),
    [
        ("Global", "api://AzureADTokenExchange"),
        ("USGovernment", "api://AzureADTokenExchangeUSGov"),
        ("USGovernmentDoD", "api://AzureADTokenExchangeUSGov"),
        ("China", "api://AzureADTokenExchangeChina"),
    ],
)
async def test_the_api_server_is_asked_for_the_clouds_audience_and_entra_gets_what_it_gives(
    spec_of: SpecMaker, cloud: str, audience: str, recwarn: pytest.WarningsRecorder
) -> None:
    kubernetes = Kubernetes()
    with foreign({"openid-configuration": discovery(), "token": Reply(body=TOKEN)}) as server:
        token = await Entra(request_token=kubernetes.request_token).mint(
            dataclasses.replace(
                grant(spec_of, cloud=cloud),
                endpoints=dataclasses.replace(grant(spec_of).endpoints, authority=f"{server.base}/tenant"),
                allowed=AllowedHosts(authority={server.base.removeprefix("https://")}),
                authorities=server.ca.decode(),
            )
        )
        [sent] = [request for request in server.asked if "client_assertion" in str(request)]

    assert kubernetes.asked == [(ACCOUNT, audience)]
    assert kubernetes.token in str(sent)
    assert token.credential_ref == "the ServiceAccount mailer"
    assert not [each for each in recwarn if "client_assertion" in str(each.message)], "MSAL warns about static ones"


async def test_a_token_of_another_service_account_is_not_sent(spec_of: SpecMaker) -> None:
    replaced = {"kubernetes.io": {"serviceaccount": {"uid": "uid-2"}}}
    for claims in (replaced, {"kubernetes.io": "nonsense"}):
        with refused("TokenRequestFailed", match="was deleted or replaced meanwhile") as caught:
            await Entra(request_token=Kubernetes(**claims).request_token).mint(grant(spec_of))
        assert caught.value.transient


async def test_what_the_api_server_refuses_is_passed_on(spec_of: SpecMaker) -> None:
    async def refuse(account: ServiceAccount, _audience: str) -> str:
        raise ServiceAccountError(SERVICE_ACCOUNT_UNREADABLE, "no", service_account=account.name)

    with refused("ServiceAccountUnreadable"):
        await Entra(request_token=refuse).mint(grant(spec_of))
    with refused("ServiceAccountUnreadable", match="no API server here"):
        await Entra().mint(grant(spec_of))


@pytest.mark.promise("secrets-stay-secret")
async def test_no_message_has_the_assertion(spec_of: SpecMaker) -> None:
    kubernetes = Kubernetes()
    with pytest.raises(TokenError) as caught:
        await Entra(request_token=kubernetes.request_token, limit=0.001).mint(grant(spec_of))

    assert "canary" not in repr(caught.value) + str(caught.value)
    assert "canary" not in repr(grant(spec_of))
