"""Federated credentials: another issuer's token in place of a secret, and each way in which Entra refuses one."""

import datetime
import http.server
import json
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import msal
import pytest
import requests
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from support.emulator_client import EmulatorClient

ISSUER = "https://kubernetes.default.svc.cluster.local"
SUBJECT = "system:serviceaccount:shop:Mailer"
AUDIENCE = "api://AzureADTokenExchange"
SCOPE = "https://outlook.office365.com/.default"
CHECK = (
    "Check your federated identity credential Subject, Audience and Issuer against the presented assertion. "
    "https://learn.microsoft.com/entra/workload-id/workload-identity-federation "
)


class ServiceAccounts:
    """Signs tokens as an API server does: RS256, a ``kid``, ``aud`` as a list, no ``x5t``."""

    def __init__(self, kid: str = "first") -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = kid

    @property
    def jwks(self) -> dict[str, Any]:
        public = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**public, "use": "sig", "alg": "RS256", "kid": self.kid}]}

    def token(self, *, algorithm: str = "RS256", **claims: Any) -> str:
        now = int(time.time())
        usual = {"iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + 600}
        return jwt.encode({**usual, **claims}, self.key, algorithm=algorithm, headers={"kid": self.kid})


@pytest.fixture(scope="module")
def accounts() -> ServiceAccounts:
    return ServiceAccounts()


@pytest.fixture
def federated(emulator: EmulatorClient, accounts: ServiceAccounts) -> EmulatorClient:
    """The emulator, whose application trusts one ServiceAccount and has no secret."""
    emulator.settings(issuers={ISSUER: {"jwks": accounts.jwks}})
    trusting(emulator, issuer=ISSUER)
    return emulator


def trusting(emulator: EmulatorClient, *, issuer: str, **members: Any) -> None:
    trusted = [{"issuer": issuer, "subject": SUBJECT, **members}]
    change = {"secrets": [], "federatedCredentials": trusted}
    emulator.control("PATCH", f"/applications/{emulator.client_id}", change)


def acquire(emulator: EmulatorClient, assertion: str) -> dict[str, Any]:
    """What MSAL gets for the assertion: a token, or Entra's error document."""
    session = requests.Session()
    session.trust_env = False
    session.verify = emulator.ca_file
    app = msal.ConfidentialClientApplication(
        emulator.client_id,
        authority=f"{emulator.authority}/{emulator.tenant}",
        client_credential={"client_assertion": lambda: assertion},
        http_client=session,
        instance_discovery=False,
    )
    return dict(app.acquire_token_for_client([SCOPE]))


def refused(emulator: EmulatorClient, assertion: str) -> tuple[str, int, str]:
    """The OAuth error, the AADSTS code and Entra's words, without the identifiers at their end."""
    answer = acquire(emulator, assertion)
    words = answer["error_description"].partition(": ")[2].partition("Trace ID:")[0]
    return answer["error"], answer["error_codes"][0], words


def test_a_service_accounts_token_gets_a_token(federated: EmulatorClient, accounts: ServiceAccounts) -> None:
    answer = acquire(federated, accounts.token())
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert (claims["appid"], claims["appidacr"]) == (federated.client_id, "2")
    assert federated.tokens()[0]["credential"] == "federated"


@pytest.mark.parametrize(
    ("claims", "code", "words"),
    [
        ({"iss": f"{ISSUER}/"}, 700211, f"issuer '{ISSUER}/'. {CHECK}"),
        ({"iss": ISSUER.upper()}, 700211, f"issuer '{ISSUER.upper()}'. {CHECK}"),
        ({"sub": f"{SUBJECT}2"}, 700213, f"subject '{SUBJECT}2'. {CHECK}"),
        ({"aud": ["https://kubernetes"]}, 700212, f"audience 'https://kubernetes'. {CHECK}"),
        ({"aud": [AUDIENCE.lower()]}, 700212, f"audience '{AUDIENCE.lower()}'. {CHECK}"),
        (
            {"sub": SUBJECT.lower()},
            7002138,
            f"subject '{SUBJECT.lower()}'. The subject matches with case-insensitive comparison, but not with ",
        ),
    ],
)
def test_issuer_subject_and_audience_must_match_exactly(
    federated: EmulatorClient, accounts: ServiceAccounts, claims: dict[str, Any], code: int, words: str
) -> None:
    error, got, said = refused(federated, accounts.token(**claims))
    assert (error, got) == ("invalid_client", code)
    assert said.startswith(f"No matching federated identity record found for presented assertion {words}")
    assert "access_token" in acquire(federated, accounts.token())


def test_one_of_several_audiences_is_enough(federated: EmulatorClient, accounts: ServiceAccounts) -> None:
    assert "access_token" in acquire(federated, accounts.token(aud=["https://kubernetes", AUDIENCE]))
    assert "access_token" in acquire(federated, accounts.token(aud=AUDIENCE))


def test_another_clouds_audience_is_a_setting_of_the_credential(
    federated: EmulatorClient, accounts: ServiceAccounts
) -> None:
    trusting(federated, issuer=ISSUER, audiences=["api://AzureADTokenExchangeUSGov"])
    assert refused(federated, accounts.token())[1] == 700212
    assert "access_token" in acquire(federated, accounts.token(aud=["api://AzureADTokenExchangeUSGov"]))


def test_an_application_without_federated_credentials_says_so(
    emulator: EmulatorClient, accounts: ServiceAccounts
) -> None:
    error, code, said = refused(emulator, accounts.token())
    assert (error, code) == ("invalid_client", 70025)
    assert said == f"The client '{emulator.client_id}'(mailer) has no configured federated identity credentials. "


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (ServiceAccounts("first"), "The key used to sign the assertion does not match."),
        (ServiceAccounts("second"), "The key was not found."),
    ],
)
def test_only_the_issuers_own_key_signs(federated: EmulatorClient, key: ServiceAccounts, reason: str) -> None:
    said = f"Assertion failed signature validation. [Reason - {reason}] "
    assert refused(federated, key.token()) == ("invalid_client", 50013, said)


def test_a_rotated_key_of_the_issuer_is_taken(federated: EmulatorClient) -> None:
    rotated = ServiceAccounts("second")
    assert refused(federated, rotated.token())[1] == 50013
    federated.settings(issuers={ISSUER: {"jwks": rotated.jwks}})
    assert "access_token" in acquire(federated, rotated.token())


@pytest.mark.parametrize("claims", [{"exp": 1_600_000_600}, {"nbf": 4_000_000_000, "exp": 4_000_000_600}])
def test_an_assertion_has_a_time(federated: EmulatorClient, accounts: ServiceAccounts, claims: dict[str, int]) -> None:
    error, code, said = refused(federated, accounts.token(**claims))
    assert (error, code) == ("invalid_client", 700024)
    assert said.startswith("Client assertion is not within its valid time range. Current time: 20")
    ends = datetime.datetime.fromtimestamp(claims["exp"], datetime.UTC)
    assert f"expiry time of assertion {ends:%Y-%m-%dT%H:%M:%S}.0000000Z." in said


@pytest.mark.parametrize("claims", [{"exp": None}, {"exp": "soon"}])
def test_an_assertion_without_an_end_is_malformed(
    federated: EmulatorClient, accounts: ServiceAccounts, claims: dict[str, Any]
) -> None:
    assert refused(federated, accounts.token(**claims))[:2] == ("invalid_client", 50027)


def test_another_algorithm_is_refused(federated: EmulatorClient, accounts: ServiceAccounts) -> None:
    assert refused(federated, accounts.token(algorithm="PS256"))[1] == 50027


class Issuer:
    """An issuer's HTTPS server; ``documents`` by path."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = authority.cert_pem.bytes().decode()
        self.documents: dict[str, Any] = {}
        documents = self.documents

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(documents.get(self.path)).encode()
                self.send_response(200 if self.path in documents else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.tempfile(dir=str(folder)) as pem:
            context.load_cert_chain(pem)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}"

    def publish(self, jwks: Mapping[str, Any], **members: Any) -> None:
        discovery = {"issuer": self.url, "jwks_uri": f"{self.url}/openid/v1/jwks", **members}
        self.documents |= {"/.well-known/openid-configuration": discovery, "/openid/v1/jwks": jwks}


@contextmanager
def serving(folder: Path) -> Iterator[Issuer]:
    issuer = Issuer(folder)
    thread = threading.Thread(target=issuer.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield issuer
    finally:
        issuer.server.shutdown()
        thread.join()
        issuer.server.server_close()


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    with serving(tmp_path) as issuer:
        yield issuer


def test_the_keys_are_fetched_from_the_issuer(
    emulator: EmulatorClient, accounts: ServiceAccounts, issuer: Issuer
) -> None:
    issuer.publish(accounts.jwks)
    trusting(emulator, issuer=issuer.url)
    emulator.settings(issuers={issuer.url: {"ca": issuer.ca}})
    assert "access_token" in acquire(emulator, accounts.token(iss=issuer.url))


UNREACHABLE = ("invalid_request", 90061, "Request to External OIDC endpoint failed. ")


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://another.example"},
        {"jwks_uri": "http://127.0.0.1:1/jwks"},
        {"jwks_uri": None},
    ],
)
def test_a_discovery_document_that_is_wrong_is_as_good_as_none(
    emulator: EmulatorClient, accounts: ServiceAccounts, issuer: Issuer, wrong: dict[str, Any]
) -> None:
    trusting(emulator, issuer=issuer.url)
    emulator.settings(issuers={issuer.url: {"ca": issuer.ca}})
    assert refused(emulator, accounts.token(iss=issuer.url)) == UNREACHABLE
    issuer.publish(accounts.jwks, **wrong)
    assert refused(emulator, accounts.token(iss=issuer.url)) == UNREACHABLE
    issuer.publish(accounts.jwks)
    assert "access_token" in acquire(emulator, accounts.token(iss=issuer.url))


def test_an_issuer_whose_certificate_is_not_trusted_cannot_be_asked(
    emulator: EmulatorClient, accounts: ServiceAccounts, issuer: Issuer
) -> None:
    issuer.publish(accounts.jwks)
    trusting(emulator, issuer=issuer.url)
    assert refused(emulator, accounts.token(iss=issuer.url)) == UNREACHABLE
    (event,) = emulator.events("entra-refused")
    assert event["client"] == emulator.client_id
    assert "certificate verify failed" in event["reason"]
    with urllib.request.urlopen(f"{emulator.control_url}/?refresh=off") as answer:
        page = answer.read().decode()
    assert "AADSTS90061" in page
    assert "certificate verify failed" in page


def test_a_key_set_that_cannot_be_read_is_900612(
    emulator: EmulatorClient, accounts: ServiceAccounts, issuer: Issuer
) -> None:
    issuer.publish({"keys": "none"})
    trusting(emulator, issuer=issuer.url)
    emulator.settings(issuers={issuer.url: {"ca": issuer.ca}})
    assert refused(emulator, accounts.token(iss=issuer.url))[:2] == ("invalid_request", 900612)


def test_no_document_is_requested_of_an_issuer_that_no_credential_names(
    federated: EmulatorClient, accounts: ServiceAccounts, issuer: Issuer
) -> None:
    issuer.publish(accounts.jwks)
    federated.settings(issuers={issuer.url: {"ca": issuer.ca}})
    assert refused(federated, accounts.token(iss=issuer.url))[1] == 700211


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jwks": {"keys": []}}, "jwks is no key set"),
        ({"jwks": {}}, "jwks is no key set"),
        ({"ca": "none"}, "ca is no certificate in PEM"),
    ],
)
def test_wrong_keys_of_an_issuer_are_explained(
    emulator: EmulatorClient, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(RuntimeError, match=r"the request: settings.issuers\['https://kubernetes.default.*" + message):
        emulator.settings(issuers={ISSUER: settings})


def test_a_private_key_is_not_taken_for_an_issuers(emulator: EmulatorClient, accounts: ServiceAccounts) -> None:
    private = {"keys": [RSAAlgorithm.to_jwk(accounts.key, as_dict=True)]}
    with pytest.raises(RuntimeError, match="has a private key; give the public one, without the member 'd'"):
        emulator.settings(issuers={ISSUER: {"jwks": private}})
