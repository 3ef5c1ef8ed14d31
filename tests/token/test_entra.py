"""Tokens come from Entra (its emulator): by secret, by certificate, one request at a time, never from a cache."""

import asyncio
import base64
import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest
from support.emulator_client import EmulatorClient

from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.entra import Entra
from o365mailer_operator.token.grant import Grant

Emulated = Callable[..., Grant]

TWO_REFS = {"clientSecret": {"secretRefs": [{"name": "old", "key": "secret"}, {"name": "new", "key": "secret"}]}}


def header_of(token: str) -> dict[str, Any]:
    encoded = token.split(".")[0]
    header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    return header


@pytest.mark.promise("credentials")
async def test_a_client_secret_mints_a_token_with_its_end_and_its_rights(
    emulator: EmulatorClient, emulated: Emulated
) -> None:
    emulator.settings(tokenLifetime=3600)
    before = datetime.datetime.now(datetime.UTC)

    token = await Entra().mint(emulated())

    assert header_of(token.value)["typ"] == "JWT"
    lifetime = (token.expires_at - before).total_seconds()
    assert 3598 <= lifetime <= 3602
    assert token.issued_at >= before
    assert token.refresh_at is None
    assert token.credential_ref == "the Secret noreply/secret"
    assert token.roles == frozenset({"SMTP.SendAsApp"})
    assert (token.refusals, token.warnings) == ((), ())
    assert [issued["credential"] for issued in emulator.tokens()] == ["secret"]


async def test_a_token_without_roles_is_right(emulator: EmulatorClient, emulated: Emulated) -> None:
    emulator.control("PATCH", f"/applications/{emulator.client_id}", {"roles": []})

    assert (await Entra().mint(emulated())).roles is None


async def test_an_earlier_refresh_in_is_kept(emulator: EmulatorClient, emulated: Emulated) -> None:
    emulator.settings(tokenLifetime=86400, refreshIn=43200)

    token = await Entra().mint(emulated())

    assert token.refresh_at is not None
    assert 43198 <= (token.refresh_at - token.issued_at).total_seconds() <= 43202


@pytest.mark.promise("credentials")
async def test_a_certificate_mints_a_token(emulator: EmulatorClient, emulated: Emulated, pair_of: Any) -> None:
    pair = pair_of()
    emulator.control(
        "PATCH", f"/applications/{emulator.client_id}", {"secrets": [], "certificates": [pair.crt.decode()]}
    )

    token = await Entra().mint(
        emulated({"pair": pair.secret}, credential={"certificate": {"secretRef": {"name": "pair"}}})
    )

    assert token.credential_ref == "the Secret pair"
    assert [issued["credential"] for issued in emulator.tokens()] == ["certificate"]


@pytest.mark.promise("credentials")
async def test_of_two_secrets_the_first_that_entra_takes_is_used_and_the_other_reported(
    emulator: EmulatorClient, emulated: Emulated
) -> None:
    secrets = {"old": {"secret": b"old-not-a-secret"}, "new": {"secret": emulator.client_secret.encode()}}

    token = await Entra().mint(emulated(secrets, credential=TWO_REFS))

    assert token.credential_ref == "the Secret new/secret"
    assert [(refusal.ref, refusal.reason) for refusal in token.refusals] == [("old/secret", "AADSTS7000215")]
    assert "the secret old/secret: the client secret is not valid" in token.warnings[0]


async def test_while_both_secrets_are_good_the_first_is_used(emulator: EmulatorClient, emulated: Emulated) -> None:
    good = {"secret": emulator.client_secret.encode()}

    token = await Entra().mint(emulated({"old": good, "new": good}, credential=TWO_REFS))

    assert token.credential_ref == "the Secret old/secret"
    assert emulator.counters()["requests"]["token"] == 1


async def test_a_secret_that_cannot_be_read_does_not_stop_the_other(
    emulator: EmulatorClient, emulated: Emulated
) -> None:
    token = await Entra().mint(emulated({"new": {"secret": emulator.client_secret.encode()}}, credential=TWO_REFS))

    assert token.credential_ref == "the Secret new/secret"
    assert [refusal.reason for refusal in token.refusals] == ["SecretNotFound"]


async def test_every_mint_is_a_new_token(emulator: EmulatorClient, emulated: Emulated) -> None:
    entra = Entra()

    first, second = await entra.mint(emulated()), await entra.mint(emulated())

    assert first.value != second.value
    assert emulator.counters()["requests"]["token"] == 2


async def test_a_token_of_seconds_is_minted_too(emulator: EmulatorClient, emulated: Emulated) -> None:
    emulator.settings(tokenLifetime=10)

    token = await Entra().mint(emulated())

    assert 8 <= (token.expires_at - token.issued_at).total_seconds() <= 10


OTHER = "44444444-4444-4444-8444-444444444444"


@pytest.fixture
def other(emulator: EmulatorClient) -> str:
    """A second application with the same secret."""
    members = {"name": "other", "secrets": [{"value": emulator.client_secret}]}
    emulator.control("PATCH", f"/applications/{OTHER}", members)
    return OTHER


@pytest.mark.promise("mailers-are-independent")
async def test_of_one_application_one_request_is_under_way_at_a_time(
    emulator: EmulatorClient, emulated: Emulated, other: str
) -> None:
    entra = Entra()
    emulator.script("token", match=emulator.client_id, stall=True)
    both = [asyncio.create_task(entra.mint(emulated())) for _ in range(2)]
    await asyncio.to_thread(emulator.events, "stalled")
    await entra.mint(emulated(clientId=other))  # by now the second would have been under way, had it been let

    assert emulator.counters()["requests"] == {"discovery": 2, "token": 2}

    emulator.release()
    await asyncio.gather(*both)
    assert emulator.counters()["requests"]["token"] == 3


@pytest.mark.promise("one-active-controller")
async def test_a_request_that_waited_for_another_is_not_sent_when_it_may_no_longer_be(
    emulator: EmulatorClient, emulated: Emulated
) -> None:
    entra = Entra()
    allowed = True

    def check() -> None:
        if not allowed:
            raise PermissionError

    emulator.script("token", stall=True)
    both = [asyncio.create_task(entra.mint(emulated(), check=check)) for _ in range(2)]
    await asyncio.to_thread(emulator.events, "stalled")
    allowed = False
    emulator.release()
    first, second = await asyncio.gather(*both, return_exceptions=True)

    assert isinstance(first, Token), "a request that is under way goes on"
    assert isinstance(second, PermissionError)
    assert emulator.counters()["requests"]["token"] == 1


@pytest.mark.promise("one-active-controller")
async def test_the_second_secret_is_not_tried_when_it_may_no_longer_be(
    emulator: EmulatorClient, emulated: Emulated
) -> None:
    checks = iter([True, False])

    def check() -> None:
        if not next(checks):
            raise PermissionError

    good = {"secret": emulator.client_secret.encode()}
    emulator.script("token", aadsts=7000222)
    with pytest.raises(PermissionError):
        await Entra().mint(emulated({"old": good, "new": good}, credential=TWO_REFS), check=check)
    assert emulator.counters()["requests"]["token"] == 1


@pytest.mark.promise("mailers-are-independent")
async def test_a_slow_application_does_not_delay_another(
    emulator: EmulatorClient, emulated: Emulated, other: str
) -> None:
    emulator.script("token", match=other, stall=True)
    entra = Entra()
    waiting = asyncio.create_task(entra.mint(emulated(clientId=other)))
    await asyncio.to_thread(emulator.events, "stalled")

    await entra.mint(emulated())

    assert not waiting.done()
    emulator.release()
    await waiting


async def test_a_clock_that_is_off_is_told_and_does_not_change_the_end(
    emulator: EmulatorClient, emulated: Emulated
) -> None:
    emulator.settings(tokenLifetime=3600)
    lag = datetime.timedelta(hours=1)

    token = await Entra(clock=lambda: datetime.datetime.now(datetime.UTC) - lag).mint(emulated())

    assert 3598 <= (token.expires_at - token.issued_at).total_seconds() <= 3600
    assert [warning.split(" s.")[0][:-4] for warning in token.warnings] == ["This clock and Entra's differ by "]
