"""What Entra refuses is told in words with the remedy; what time heals is marked so."""

import base64
import datetime
from collections.abc import Callable
from typing import Any

import pytest
from support.emulator_client import EmulatorClient

from o365mailer_operator.token.entra import Entra
from o365mailer_operator.token.errors import EntraRefused, TokenError
from o365mailer_operator.token.grant import Grant

Emulated = Callable[..., Grant]


async def failure_of(grant: Grant) -> TokenError:
    with pytest.raises(TokenError) as caught:
        await Entra().mint(grant)
    return caught.value


@pytest.mark.promise("wrong-credential-explained")
async def test_a_wrong_secret(emulated: Emulated) -> None:
    error = await failure_of(emulated({"noreply": {"secret": b"wrong-not-a-secret"}}))

    assert error.reason == "AADSTS7000215"
    assert not error.transient
    assert str(error).startswith(
        "Entra refused the secret noreply/secret: the client secret is not valid (AADSTS7000215). "
        "Create a new client secret in Entra (App registrations → Certificates & secrets) and put its Value, "
        "not its ID, in the Secret. [correlation id "
    )


@pytest.mark.promise("wrong-credential-explained")
async def test_a_secret_that_was_encoded_twice(emulator: EmulatorClient, emulated: Emulated) -> None:
    twice = base64.b64encode(emulator.client_secret.encode())

    error = await failure_of(emulated({"noreply": {"secret": twice}}))

    assert error.reason == "AADSTS7000215"
    assert str(error).startswith(
        "Entra refused the secret noreply/secret (it is base64 of another text: it was probably encoded twice, so "
        "decode it once): the client secret is not valid (AADSTS7000215)."
    )
    assert twice.decode() not in str(error)


@pytest.mark.promise("wrong-credential-explained")
async def test_an_expired_secret(emulator: EmulatorClient, emulated: Emulated) -> None:
    yesterday = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)).isoformat()
    expired = [{"value": emulator.client_secret, "expiresAt": yesterday}]
    emulator.control("PATCH", f"/applications/{emulator.client_id}", {"secrets": expired})

    error = await failure_of(emulated())

    assert error.reason == "AADSTS7000222"
    assert "the client secret has expired (AADSTS7000222)" in str(error)


@pytest.mark.promise("wrong-credential-explained")
async def test_an_unknown_application(emulated: Emulated) -> None:
    error = await failure_of(emulated(clientId="99999999-2222-4222-8222-222222222222"))

    assert error.reason == "AADSTS700016"
    assert "Check spec.clientId and spec.tenantId." in str(error)


@pytest.mark.promise("wrong-credential-explained")
async def test_an_unknown_tenant(emulated: Emulated) -> None:
    error = await failure_of(emulated(tenantId="99999999-1111-4111-8111-111111111111"))

    assert error.reason == "AADSTS90002"
    assert "the tenant was not found (AADSTS90002). Check spec.tenantId." in str(error)


@pytest.mark.promise("wrong-credential-explained")
async def test_a_certificate_that_is_not_registered(emulated: Emulated, pair_of: Any) -> None:
    grant = emulated({"pair": pair_of().secret}, credential={"certificate": {"secretRef": {"name": "pair"}}})

    error = await failure_of(grant)

    assert error.reason == "AADSTS700027"
    assert "the certificate pair: the certificate is not registered with the application" in str(error)


@pytest.mark.promise("wrong-credential-explained")
async def test_a_code_that_the_table_does_not_hold_is_told_in_entras_words(
    emulator: EmulatorClient, emulated: Emulated
) -> None:
    emulator.script("token", aadsts=70003)

    error = await failure_of(emulated())

    assert isinstance(error, EntraRefused)
    assert (error.reason, error.code, error.transient) == ("EntraRefused", 70003, False)
    assert "(AADSTS70003, unsupported_grant_type): AADSTS70003: The app requested an unsupported" in str(error)
    assert "Trace ID" not in str(error)


async def test_both_secrets_refused_tells_both(emulated: Emulated) -> None:
    refs = {"clientSecret": {"secretRefs": [{"name": "old", "key": "secret"}, {"name": "new", "key": "secret"}]}}
    secrets = {"old": {"secret": b"one-not-a-secret"}, "new": {"secret": b"two-not-a-secret"}}

    error = await failure_of(emulated(secrets, credential=refs))

    assert error.reason == "AADSTS7000215"
    assert "the secret old/secret" in str(error)
    assert "And: Entra refused the secret new/secret" in str(error)


async def test_a_verdict_on_the_application_does_not_try_the_second_secret(
    emulator: EmulatorClient, emulated: Emulated
) -> None:
    refs = {"clientSecret": {"secretRefs": [{"name": "old", "key": "secret"}, {"name": "new", "key": "secret"}]}}
    good = {"secret": emulator.client_secret.encode()}
    emulator.script("token", aadsts=700016)

    error = await failure_of(emulated({"old": good, "new": good}, credential=refs))

    assert error.reason == "AADSTS700016"
    assert emulator.counters()["requests"]["token"] == 1


@pytest.mark.promise("token-requests-retried")
async def test_a_429_says_how_long_to_wait(emulator: EmulatorClient, emulated: Emulated) -> None:
    emulator.script("token", status=429, retryAfter=37)

    error = await failure_of(emulated())

    assert error.reason == "EntraThrottled"
    assert (error.reason, error.transient, error.retry_after) == ("EntraThrottled", True, 37)
    assert str(error).startswith("Entra asks to wait for 37 s (HTTP 429).")


@pytest.mark.promise("token-requests-retried")
@pytest.mark.parametrize("step", ["discovery", "token"])
@pytest.mark.parametrize("status", [500, 503])
async def test_a_5xx_is_an_outage(emulator: EmulatorClient, emulated: Emulated, step: str, status: int) -> None:
    emulator.script(step, status=status, retryAfter=3)

    error = await failure_of(emulated())

    assert error.reason == "EntraUnreachable"
    assert (error.transient, error.retry_after) == (True, 3)
    assert f"has a fault (HTTP {status})" in str(error)


@pytest.mark.promise("token-requests-retried")
@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429}, {"aadsts": 7000215}, {"aadsts": 90033}])
async def test_a_fault_that_is_over_is_not_replayed(
    emulator: EmulatorClient, emulated: Emulated, fault: dict[str, Any]
) -> None:
    emulator.script("token", **fault)
    entra, grant = Entra(), emulated()

    with pytest.raises(TokenError):
        await entra.mint(grant)

    assert (await entra.mint(grant)).value


async def test_a_connection_that_breaks_is_an_outage(emulator: EmulatorClient, emulated: Emulated) -> None:
    emulator.script("token", reset=True)

    assert (await failure_of(emulated())).reason == "EntraUnreachable"


async def test_the_correlation_id_is_kept_for_microsofts_support(emulated: Emulated) -> None:
    error = await failure_of(emulated({"noreply": {"secret": b"wrong-not-a-secret"}}))

    assert isinstance(error, EntraRefused)
    assert error.correlation_id
    assert str(error).endswith(f"[correlation id {error.correlation_id}]")
