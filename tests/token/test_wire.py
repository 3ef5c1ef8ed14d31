"""The HTTPS client goes where it is allowed, trusts whom it was told, waits as long as it was told, and no further."""

import base64
import dataclasses
import datetime
import json
import urllib.parse
from collections.abc import Callable
from typing import Any, NoReturn

import jwt
import pytest
import trustme
from cryptography.hazmat.primitives import hashes
from support.emulator_client import EmulatorClient
from support.foreign_entra import Reply, closed, discovery, foreign, silent
from support.held import Held

from o365mailer_cli.document import named_hosts
from o365mailer_operator.token.answer import Presented
from o365mailer_operator.token.certificate import read_certificate
from o365mailer_operator.token.endpoints import AllowedHosts
from o365mailer_operator.token.entra import Entra
from o365mailer_operator.token.errors import TokenError
from o365mailer_operator.token.grant import Grant, grant_of
from o365mailer_operator.token.spec import decode_spec
from o365mailer_operator.token.wire import Wire

GOOD = Reply(body=json.dumps({"access_token": "a.b.c", "token_type": "Bearer", "expires_in": 3600}))


@pytest.fixture
def grant_at(spec_of: Any) -> Callable[..., Grant]:
    """A grant for an authority at another address."""

    def make(base: str, ca: bytes | None, *, allowed: AllowedHosts | None = None) -> Grant:
        authority = {"url": base, **({"ca": {"secretRef": {"name": "authority"}}} if ca else {})}
        spec = decode_spec(spec_of(authority=authority))
        secrets = {"noreply": {"secret": b"canary-not-a-secret"}, "authority": {"ca.crt": ca or b""}}
        return grant_of(spec, Held(secrets), allowed=allowed or named_hosts(spec.endpoints))

    return make


async def failure_of(grant: Grant, **limits: Any) -> TokenError:
    with pytest.raises(TokenError) as caught:
        await Entra(**limits).mint(grant)
    return caught.value


async def test_a_good_answer_from_such_a_server_is_taken(grant_at: Any) -> None:
    """What makes the refusals below mean something."""
    with foreign({"openid-configuration": discovery(), "token": GOOD}) as server:
        token = await Entra().mint(grant_at(server.base, server.ca))

        assert token.value == "a.b.c"
        assert [method for method, _, _ in server.asked] == ["GET", "POST"]


@pytest.mark.promise("credentials")
async def test_a_certificates_assertion_is_signed_with_ps256_and_names_the_certificate_by_sha256(
    grant_at: Any, pair_of: Any
) -> None:
    """Microsoft, "Certificate credentials": RS256 and the SHA-1 thumbprint are the legacy form."""
    pair = pair_of()
    with foreign({"openid-configuration": discovery(), "token": GOOD}) as server:
        certificate = read_certificate(secret="pair", certificate=pair.crt, key=pair.key)
        await Entra().mint(dataclasses.replace(grant_at(server.base, server.ca), credential=certificate))
        form = urllib.parse.parse_qs(server.asked[-1][2])

    (assertion,) = form["client_assertion"]
    header = jwt.get_unverified_header(assertion)
    thumbprint = base64.urlsafe_b64decode(header["x5t#S256"])
    assert (header["alg"], thumbprint) == ("PS256", pair.certificate.fingerprint(hashes.SHA256()))
    claims = jwt.decode(assertion, pair.private.public_key(), ["PS256"], audience=f"{server.base}/token")
    assert claims["iss"] == claims["sub"] == "22222222-2222-4222-8222-222222222222"


@pytest.mark.promise("load-does-not-block")
async def test_a_token_request_does_not_read_the_key_again(
    grant_at: Any, pair_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading validates: many mailers with large keys and a refresh annotation in a loop would stop the process."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a private key was read")

    pair = pair_of()
    certificate = read_certificate(secret="pair", certificate=pair.crt, key=pair.key)
    monkeypatch.setattr("jwt.algorithms.load_pem_private_key", refuse)
    monkeypatch.setattr("cryptography.hazmat.primitives.serialization.load_pem_private_key", refuse)
    with foreign({"openid-configuration": discovery(), "token": GOOD}) as server:
        token = await Entra().mint(dataclasses.replace(grant_at(server.base, server.ca), credential=certificate))

    assert token.value == "a.b.c"


@pytest.mark.promise("secret-only-to-allowed-hosts")
async def test_a_token_endpoint_on_another_host_gets_nothing(grant_at: Any) -> None:
    with (
        foreign({"token": GOOD}) as thief,
        foreign({"openid-configuration": discovery(f"{thief.base}/token")}) as server,
    ):
        error = await failure_of(grant_at(server.base, server.ca + thief.ca))

        assert error.reason == "HostNotAllowed"
        assert str(error).startswith("The authority's discovery document names 127.0.0.1:")
        assert thief.asked == []


async def test_a_token_endpoint_without_tls_gets_nothing(grant_at: Any) -> None:
    with foreign({"openid-configuration": discovery("http://127.0.0.1:1/token")}) as server:
        error = await failure_of(grant_at(server.base, server.ca))

        assert isinstance(error, TokenError)
        assert [method for method, _, _ in server.asked] == ["GET"]


@pytest.mark.promise("secret-only-to-allowed-hosts")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(grant_at: Any, status: int) -> None:
    away = Reply(status=status, headers={"Location": "{base}/elsewhere"})
    with foreign({"openid-configuration": discovery(), "token": away, "elsewhere": GOOD}) as server:
        error = await failure_of(grant_at(server.base, server.ca))

        assert error.reason == "EntraAnswerInvalid"
        assert f"redirects (HTTP {status}), which is not followed" in str(error)
        assert [path.rsplit("/", 1)[-1] for _, path, _ in server.asked] == ["openid-configuration", "token"]


@pytest.mark.promise("secret-only-to-allowed-hosts")
async def test_another_authoritys_certificate_is_not_trusted(grant_at: Any) -> None:
    other = trustme.CA().cert_pem.bytes()
    with foreign({"openid-configuration": discovery(), "token": GOOD}) as server:
        error = await failure_of(grant_at(server.base, other))

        assert error.reason == "EntraNotTrusted"
        assert "unable to get local issuer certificate" in str(error)
        assert "spec.authority.ca" in str(error)
        assert server.asked == []


@pytest.mark.promise("secret-only-to-allowed-hosts")
async def test_the_public_authorities_are_not_trusted_beside_the_named_ones(
    grant_at: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """requests adds its bundle of public authorities to whatever context it is given, unless it is kept from it."""
    other = trustme.CA().cert_pem.bytes()
    with foreign({"openid-configuration": discovery(), "token": GOOD}) as server:
        bundle = tmp_path / "public.pem"
        bundle.write_bytes(server.ca)
        monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(bundle))

        assert (await failure_of(grant_at(server.base, other))).reason == "EntraNotTrusted"


async def test_a_private_authority_is_not_trusted_unless_it_is_named(grant_at: Any) -> None:
    with foreign({"openid-configuration": discovery(), "token": GOOD}) as server:
        assert (await failure_of(grant_at(server.base, None))).reason == "EntraNotTrusted"


async def test_the_environment_replaces_neither_the_authorities_nor_the_proxy(
    grant_at: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    bundle = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(bundle))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(bundle))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, closed().replace("https", "http"))
    monkeypatch.setenv("MSAL_FORCE_REGION", "westeurope")

    with foreign({"openid-configuration": discovery(), "token": GOOD}) as server:
        assert (await Entra().mint(grant_at(server.base, server.ca))).value == "a.b.c"


async def test_a_proxy_that_is_away_is_told(grant_at: Any) -> None:
    with foreign({"openid-configuration": discovery(), "token": GOOD}) as server:
        grant = grant_at(server.base, server.ca)
        error = await failure_of(grant, proxy=closed().replace("https", "http"))

        assert error.reason == "EntraUnreachable"
        assert "The HTTPS proxy did not lead to" in str(error)
        assert server.asked == []


@pytest.mark.promise("token-requests-retried")
async def test_a_refused_connection_is_an_outage(grant_at: Any) -> None:
    error = await failure_of(grant_at(closed(), None))

    assert error.reason == "EntraUnreachable"
    assert "(Connection refused)" in str(error)


@pytest.mark.promise("token-requests-retried")
async def test_a_name_that_does_not_resolve_is_an_outage(grant_at: Any) -> None:
    error = await failure_of(grant_at("https://login.invalid", None))

    assert error.reason == "EntraUnreachable"
    assert str(error).startswith("No connection to login.invalid (")


@pytest.mark.promise("token-requests-retried")
async def test_a_silent_server_is_given_up(grant_at: Any) -> None:
    with silent() as base:
        error = await failure_of(grant_at(base, None), timeout=0.2)

    assert error.reason == "EntraUnreachable"
    assert "did not answer within 0.2 s" in str(error)


@pytest.mark.promise("token-requests-retried")
async def test_an_answer_that_takes_too_long_in_all_is_given_up_too(
    emulator: EmulatorClient, emulated: Callable[..., Grant]
) -> None:
    emulator.script("token", stall=True)

    error = await failure_of(emulated(), timeout=30, limit=0.5)
    emulator.release()

    assert error.reason == "EntraUnreachable"
    assert "gave no whole answer within 0.5 s" in str(error)


@pytest.mark.promise("token-requests-retried")
@pytest.mark.parametrize("asked", ["9999999", "99999999", "9" * 60])
async def test_a_retry_after_of_months_is_an_hour(grant_at: Any, asked: str) -> None:
    busy = Reply(status=429, headers={"Retry-After": asked})
    with foreign({"openid-configuration": discovery(), "token": busy}) as server:
        error = await failure_of(grant_at(server.base, server.ca))

    assert error.reason == "EntraThrottled"
    assert error.retry_after == 3600


NONSENSE = {
    "not JSON": Reply(body="<html>Sign in to the network</html>"),
    "a list": Reply(body="[]"),
    "no token": Reply(body='{"token_type": "Bearer", "expires_in": 3600}'),
    "no lifetime": Reply(body='{"access_token": "a.b.c", "token_type": "Bearer"}'),
    "a lifetime of nothing": Reply(body='{"access_token": "a.b.c", "expires_in": 0}'),
    "a token with a line break": Reply(body='{"access_token": "a\\nb", "expires_in": 3600}'),
    "an empty token": Reply(body='{"access_token": "", "expires_in": 3600}'),
    "a 403 of something else": Reply(status=403, body="Forbidden by the firewall"),
    "2 MiB": Reply(body=" " * 2**21),
}


@pytest.mark.parametrize("case", NONSENSE)
async def test_an_answer_that_is_not_entras_is_told(grant_at: Any, case: str) -> None:
    with foreign({"openid-configuration": discovery(), "token": NONSENSE[case]}) as server:
        error = await failure_of(grant_at(server.base, server.ca))

    assert error.reason == "EntraAnswerInvalid"
    assert error.transient


@pytest.mark.parametrize("body", ["{}", '{"token_endpoint": 3, "authorization_endpoint": null}', "", "null"])
async def test_a_discovery_document_that_makes_no_sense_is_told(grant_at: Any, body: str) -> None:
    with foreign({"openid-configuration": Reply(body=body)}) as server:
        assert (await failure_of(grant_at(server.base, server.ca))).reason == "EntraAnswerInvalid"


def token_answer(**members: Any) -> Reply:
    return Reply(body=json.dumps({"access_token": "a.b.c", "token_type": "Bearer", "expires_in": 3600, **members}))


@pytest.mark.parametrize("lifetime", [0, -1, 8 * 86400, 10**12, 10**30])
async def test_a_lifetime_that_cannot_be_is_told(grant_at: Any, lifetime: int) -> None:
    with foreign({"openid-configuration": discovery(), "token": token_answer(expires_in=lifetime)}) as server:
        error = await failure_of(grant_at(server.base, server.ca))

    assert error.reason == "EntraAnswerInvalid"


@pytest.mark.parametrize("refresh_in", [10**12, 10**30, -(10**12)])
async def test_a_refresh_at_an_impossible_time_is_ignored(grant_at: Any, refresh_in: int) -> None:
    with foreign({"openid-configuration": discovery(), "token": token_answer(refresh_in=refresh_in)}) as server:
        token = await Entra().mint(grant_at(server.base, server.ca))

    assert token.refresh_at is None


@pytest.mark.parametrize("claims", ['{"exp": 1e300}', '{"exp": ' + "9" * 400 + "}", "[" * 10_000, '{"exp": -1}'])
async def test_claims_that_make_no_sense_do_not_cost_the_token(grant_at: Any, claims: str) -> None:
    value = f"a.{base64.urlsafe_b64encode(claims.encode()).decode().rstrip('=')}.c"
    with foreign({"openid-configuration": discovery(), "token": token_answer(access_token=value)}) as server:
        token = await Entra().mint(grant_at(server.base, server.ca))

    assert (token.warnings, token.roles) == ((), None)


@pytest.mark.parametrize("status", [200, 400, 503])
def test_the_clock_of_the_other_side_is_read_from_any_answer(status: int) -> None:
    with foreign({"openid-configuration": Reply(status=status)}) as server:
        allowed = AllowedHosts(authority={server.base.removeprefix("https://")})
        wire = Wire(
            allowed=allowed, authorities=server.ca.decode(), proxy=None, timeout=5, presented=Presented("no credential")
        )
        said = wire.date(f"{server.base}/common/v2.0/.well-known/openid-configuration")
        wire.close()

    assert said
    assert abs((said - datetime.datetime.now(datetime.UTC)).total_seconds()) < 30
