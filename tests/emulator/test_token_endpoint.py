"""Entra: discovery, keys and the token endpoint, as MSAL and as a bare client meet them."""

import base64
import datetime
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any

import jwt
import msal
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from support.emulator_client import EmulatorClient

SCOPE = "https://outlook.office365.com/.default"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
OTHER = "99999999-9999-4999-8999-999999999999"
LONG_AGO = "2020-01-01T00:00:00Z"
LATER = "2099-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class KeyPair:
    """An application's private key with its self-signed certificate, both PEM."""

    key: str
    certificate: str

    @property
    def thumbprint(self) -> str:
        """SHA-1 in hexadecimal, as the portal shows it."""
        parsed = x509.load_pem_x509_certificate(self.certificate.encode())
        return parsed.fingerprint(hashes.SHA1()).hex()  # noqa: S303 - what x5t is made of


def make_pair(*, days: int = 30) -> KeyPair:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mailer")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=90))
    certificate = builder.not_valid_after(now + datetime.timedelta(days=days)).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return KeyPair(pem.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode())


@pytest.fixture(scope="module")
def pair() -> KeyPair:
    return make_pair()


def session(emulator: EmulatorClient) -> requests.Session:
    """Trusts the emulator's CA only, whatever the environment names (REQUESTS_CA_BUNDLE would win otherwise)."""
    made = requests.Session()
    made.trust_env = False
    made.verify = emulator.ca_file
    return made


def msal_app(emulator: EmulatorClient, credential: Any, **members: Any) -> msal.ConfidentialClientApplication:
    return msal.ConfidentialClientApplication(
        members.pop("client_id", emulator.client_id),
        authority=f"{emulator.authority}/{members.pop('tenant', emulator.tenant)}",
        client_credential=credential,
        http_client=session(emulator),
        instance_discovery=False,
        **members,
    )


def acquire(emulator: EmulatorClient, credential: Any, **members: Any) -> dict[str, Any]:
    return dict(msal_app(emulator, credential, **members).acquire_token_for_client([SCOPE]))


def change_application(emulator: EmulatorClient, **members: Any) -> None:
    emulator.control("PATCH", f"/applications/{emulator.client_id}", members)


def post(emulator: EmulatorClient, form: dict[str, str], **headers: str) -> tuple[int, dict[str, Any], Any]:
    """A bare token request: HTTP status, JSON, headers."""
    url = f"{emulator.authority}/{emulator.tenant}/oauth2/v2.0/token"
    full = {"grant_type": "client_credentials", "scope": SCOPE, "client_id": emulator.client_id, **form}
    body = urllib.parse.urlencode({name: value for name, value in full.items() if value}).encode()
    context = ssl.create_default_context(cafile=emulator.ca_file)
    request = urllib.request.Request(url, data=body, headers=headers)
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read()), answer.headers
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read()), refused.headers


def test_a_client_secret_gets_a_token_with_the_claims_exchange_looks_at(emulator: EmulatorClient) -> None:
    answer = acquire(emulator, emulator.client_secret)
    assert answer["token_type"] == "Bearer"
    assert 3590 <= answer["expires_in"] <= 5400
    keys = jwt.PyJWKSet.from_dict(
        session(emulator).get(f"{emulator.authority}/{emulator.tenant}/discovery/v2.0/keys").json()
    )
    kid = jwt.get_unverified_header(answer["access_token"])["kid"]
    claims = jwt.decode(
        answer["access_token"], keys[kid].key, algorithms=["RS256"], audience="https://outlook.office365.com"
    )
    assert claims["iss"] == f"https://sts.windows.net/{emulator.tenant}/"
    assert (claims["tid"], claims["appid"]) == (emulator.tenant, emulator.client_id)
    assert (claims["roles"], claims["ver"]) == (["SMTP.SendAsApp"], "1.0")
    assert {"oid", "iat", "nbf", "exp", "uti"} <= set(claims)
    (listed,) = emulator.tokens()
    assert (listed["uti"], listed["credential"]) == (claims["uti"], "secret")


def test_a_tenant_may_be_named_by_its_domain(emulator: EmulatorClient) -> None:
    answer = acquire(emulator, emulator.client_secret, tenant="contoso.onmicrosoft.com")
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert claims["tid"] == emulator.tenant


def test_discovery_names_the_endpoints_under_the_authority(emulator: EmulatorClient) -> None:
    base = f"{emulator.authority}/{emulator.tenant}"
    document = session(emulator).get(f"{base}/v2.0/.well-known/openid-configuration").json()
    assert document["token_endpoint"] == f"{base}/oauth2/v2.0/token"
    assert document["jwks_uri"] == f"{base}/discovery/v2.0/keys"
    assert document["issuer"] == f"{base}/v2.0"


def test_every_endpoint_that_discovery_names_is_served(emulator: EmulatorClient) -> None:
    client = session(emulator)
    document = client.get(f"{emulator.authority}/{emulator.tenant}/v2.0/.well-known/openid-configuration").json()
    named = {name: url for name, url in document.items() if name.endswith(("_endpoint", "_uri"))}
    assert {"token_endpoint", "jwks_uri", "authorization_endpoint"} <= set(named)  # MSAL refuses discovery without
    assert 404 not in [client.get(url).status_code for url in named.values()]
    assert document["grant_types_supported"] == ["client_credentials"]
    assert document["response_types_supported"] == []
    assert client.get(named["token_endpoint"] + "x").status_code == 404
    assert "no users" in client.get(named["authorization_endpoint"]).text


def test_two_secrets_are_valid_at_once_while_rotating(emulator: EmulatorClient) -> None:
    change_application(
        emulator, secrets=[{"value": "old-not-a-secret", "expiresAt": LATER}, {"value": "new-not-a-secret"}]
    )
    assert "access_token" in acquire(emulator, "old-not-a-secret")
    assert "access_token" in acquire(emulator, "new-not-a-secret")
    assert acquire(emulator, emulator.client_secret)["error_codes"] == [7000215]


def test_an_expired_secret_is_7000222(emulator: EmulatorClient) -> None:
    change_application(emulator, secrets=[{"value": "old-not-a-secret", "expiresAt": LONG_AGO}])
    answer = acquire(emulator, "old-not-a-secret")
    assert (answer["error"], answer["error_codes"]) == ("invalid_client", [7000222])
    assert "are expired" in answer["error_description"]


def test_a_wrong_secret_is_7000215_in_entras_own_shape(emulator: EmulatorClient) -> None:
    wanted = str(uuid.uuid4())
    status, answer, headers = post(emulator, {"client_secret": "wrong-not-a-secret"}, **{"client-request-id": wanted})
    assert status == 401
    assert list(answer) == [
        *("error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id", "error_uri")
    ]
    assert (answer["error"], answer["error_codes"]) == ("invalid_client", [7000215])
    assert answer["correlation_id"] == wanted == headers["client-request-id"]
    assert answer["error_uri"] == f"{emulator.authority}/error?code=7000215"
    expected = f"Trace ID: {answer['trace_id']} Correlation ID: {wanted} Timestamp: {answer['timestamp']}"
    assert answer["error_description"].startswith("AADSTS7000215: Invalid client secret provided.")
    assert answer["error_description"].endswith(expected)
    assert "wrong-not-a-secret" not in json.dumps(answer)
    assert emulator.counters()["tokensRefused"] == 1


@pytest.mark.parametrize(
    ("form", "status", "error", "code"),
    [
        ({}, 401, "invalid_client", 7000216),
        ({"client_secret": "x", "client_id": OTHER}, 400, "unauthorized_client", 700016),
        ({"client_secret": "x", "client_id": ""}, 400, "invalid_request", 900144),
        ({"client_secret": "x", "grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"client_secret": "x", "grant_type": ""}, 400, "invalid_request", 900144),
        ({"scope": "https://outlook.office365.com/SMTP.Send"}, 400, "invalid_scope", 1002012),
        ({"scope": "nonsense/.default"}, 400, "invalid_resource", 500011),
        ({"scope": ""}, 400, "invalid_request", 900144),
        ({"client_assertion": "x"}, 400, "invalid_request", 900144),
        ({"client_assertion": "x", "client_assertion_type": JWT_BEARER}, 401, "invalid_client", 50027),
    ],
)
def test_each_wrong_request_has_its_code(
    emulator: EmulatorClient, form: dict[str, str], status: int, error: str, code: int
) -> None:
    full = {"client_secret": emulator.client_secret, **form} if "scope" in form else form
    got, answer, _ = post(emulator, full)
    assert (got, answer["error"], answer["error_codes"]) == (status, error, [code])
    assert emulator.events("entra-refused")[0]["code"] == code


def test_a_basic_header_carries_the_credentials_too(emulator: EmulatorClient) -> None:
    encoded = base64.b64encode(f"{emulator.client_id}:{emulator.client_secret}".encode()).decode()
    status, answer, _ = post(emulator, {"client_id": ""}, Authorization=f"Basic {encoded}")
    assert status == 200
    assert answer["access_token"]


def test_an_unknown_tenant_is_400_with_90002_and_stops_msal_at_once(emulator: EmulatorClient) -> None:
    answer = session(emulator).get(f"{emulator.authority}/{OTHER}/v2.0/.well-known/openid-configuration")
    assert (answer.status_code, answer.json()["error_codes"]) == (400, [90002])
    with pytest.raises(ValueError, match="Unable to get authority configuration"):
        msal_app(emulator, emulator.client_secret, tenant=OTHER)


def test_an_application_of_another_tenant_is_700016(emulator: EmulatorClient) -> None:
    emulator.control("PATCH", f"/tenants/{OTHER}", {})
    change_application(emulator, tenant=OTHER)
    assert acquire(emulator, emulator.client_secret)["error_codes"] == [700016]


@pytest.mark.parametrize("form", ["PS256 with x5t#S256", "RS256 with x5t"])
def test_msals_certificate_assertions_are_accepted(emulator: EmulatorClient, pair: KeyPair, form: str) -> None:
    newer = form.startswith("PS256")
    legacy = {"private_key": pair.key, "thumbprint": pair.thumbprint}
    credential = {"private_key": pair.key, "public_certificate": pair.certificate} if newer else legacy
    assert acquire(emulator, credential)["error_codes"] == [700027]
    change_application(emulator, certificates=[pair.certificate])
    answer = acquire(emulator, credential)
    assert jwt.decode(answer["access_token"], options={"verify_signature": False})["appidacr"] == "2"
    assert emulator.tokens()[0]["credential"] == "certificate"


def test_an_expired_certificate_is_refused(emulator: EmulatorClient) -> None:
    expired = make_pair(days=-1)
    change_application(emulator, certificates=[expired.certificate])
    answer = acquire(emulator, {"private_key": expired.key, "public_certificate": expired.certificate})
    assert answer["error_codes"] == [1000502]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, None),
        ({"aud": "https://elsewhere.example/token"}, 700023),
        ({"exp": -3600, "nbf": -4200}, 700024),
        ({"nbf": 3600, "exp": 4200}, 700024),
        ({"sub": OTHER}, 700021),
        ({"iss": OTHER}, 700021),
        ({"exp": None}, 50027),
    ],
)
def test_an_assertions_claims_are_checked(
    emulator: EmulatorClient, pair: KeyPair, change: dict[str, Any], code: int | None
) -> None:
    change_application(emulator, certificates=[pair.certificate])
    now = int(datetime.datetime.now(datetime.UTC).timestamp())
    claims: dict[str, Any] = {
        "aud": f"{emulator.authority}/{emulator.tenant}/oauth2/v2.0/token",
        "iss": emulator.client_id,
        "sub": emulator.client_id,
        "jti": str(uuid.uuid4()),
        "nbf": 0,
        "exp": 600,
        **change,
    }
    for name in ("nbf", "exp"):  # given as seconds from now; none leaves the claim out
        claims[name] = now + claims[name] if claims[name] is not None else None
    claims = {name: value for name, value in claims.items() if value is not None}
    status, answer, _ = post(emulator, {"client_assertion": signed(claims, pair), "client_assertion_type": JWT_BEARER})
    assert answer.get("error_codes") == ([code] if code else None)
    assert status == (401 if code else 200)


def test_an_assertion_signed_by_another_key_is_700027(emulator: EmulatorClient, pair: KeyPair) -> None:
    change_application(emulator, certificates=[pair.certificate])
    impostor = KeyPair(make_pair().key, pair.certificate)
    credential = {"private_key": impostor.key, "thumbprint": pair.thumbprint}
    answer = acquire(emulator, credential)
    assert answer["error_codes"] == [700027]
    assert "does not match" in answer["error_description"]


def signed(claims: dict[str, Any], pair: KeyPair) -> str:
    thumbprint = base64.urlsafe_b64encode(bytes.fromhex(pair.thumbprint)).rstrip(b"=").decode()
    return jwt.encode(claims, pair.key, algorithm="RS256", headers={"x5t": thumbprint})


def test_lifetime_and_refresh_time_can_be_set(emulator: EmulatorClient) -> None:
    emulator.settings(tokenLifetime=7, refreshIn=3)
    _, answer, _ = post(emulator, {"client_secret": emulator.client_secret})
    assert 5 <= answer["expires_in"] <= 7
    assert answer["refresh_in"] == 3
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert 6 <= claims["exp"] - claims["iat"] <= 7


def test_each_token_lives_for_another_time_in_entras_bounds(emulator: EmulatorClient) -> None:
    lives = [post(emulator, {"client_secret": emulator.client_secret})[1]["expires_in"] for _ in range(20)]
    assert len(set(lives)) > 10
    assert 3590 <= min(lives) < max(lives) <= 5400
    emulator.settings(tokenLifetime=4500)
    assert 4490 <= post(emulator, {"client_secret": emulator.client_secret})[1]["expires_in"] <= 4500


def test_msal_never_caches_a_short_token(emulator: EmulatorClient) -> None:
    emulator.settings(tokenLifetime=290)
    app = msal_app(emulator, emulator.client_secret)
    tokens = {app.acquire_token_for_client([SCOPE])["access_token"] for _ in range(2)}
    assert len(tokens) == emulator.counters()["requests"]["token"] == 2


@pytest.mark.parametrize(("status", "error"), [(429, "temporarily_unavailable"), (503, "temporarily_unavailable")])
def test_an_outage_carries_retry_after(emulator: EmulatorClient, status: int, error: str) -> None:
    emulator.script("token", status=status, retryAfter=7)
    got, answer, headers = post(emulator, {"client_secret": emulator.client_secret})
    assert (got, answer["error"], headers["Retry-After"]) == (status, error, "7")
    assert post(emulator, {"client_secret": emulator.client_secret})[0] == 200


def test_msal_obeys_retry_after_without_asking_again(emulator: EmulatorClient) -> None:
    emulator.script("token", status=429, retryAfter=600)
    app = msal_app(emulator, emulator.client_secret)
    answers = [app.acquire_token_for_client([SCOPE]) for _ in range(2)]
    assert [answer["error"] for answer in answers] == ["temporarily_unavailable"] * 2
    assert emulator.counters()["requests"]["token"] == 1


@pytest.mark.parametrize(("code", "status"), [(50196, 400), (7000112, 400), (53003, 400), (90033, 503), (7000218, 401)])
def test_any_code_of_the_table_can_be_scripted(emulator: EmulatorClient, code: int, status: int) -> None:
    emulator.script("token", aadsts=code, match=emulator.client_id)
    got, answer, _ = post(emulator, {"client_secret": emulator.client_secret})
    assert (got, answer["error_codes"]) == (status, [code])
    assert f"AADSTS{code}: " in answer["error_description"]


@pytest.mark.parametrize("step", ["discovery", "token"])
def test_the_connection_to_entra_can_be_cut(emulator: EmulatorClient, step: str) -> None:
    emulator.script(step, close=True, times=None)
    with pytest.raises(requests.ConnectionError):
        acquire(emulator, emulator.client_secret)
    emulator.control("DELETE", "/script")
    assert "access_token" in acquire(emulator, emulator.client_secret)


def test_a_token_request_can_be_stalled(emulator: EmulatorClient) -> None:
    emulator.script("token", stall=0.2)
    status, _, _ = post(emulator, {"client_secret": emulator.client_secret})
    assert status == 200
    assert emulator.events("stalled")[0]["step"] == "token"
