"""No secret, key or token is in any text, repr, traceback or log that a failure or a success leaves behind."""

import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from support.emulator_client import EmulatorClient
from support.foreign_entra import Reply, closed, discovery, foreign
from support.held import Held

from o365mailer_operator.token.entra import Entra
from o365mailer_operator.token.errors import TokenError
from o365mailer_operator.token.grant import Grant, read_credential
from o365mailer_operator.token.spec import decode_spec

CANARY = "canary-not-a-secret"


def told_by(error: BaseException | None) -> str:
    """Everything that a careless logger could print of an error, its chain included."""
    texts: list[str] = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


FAULTS: dict[str, dict[str, Any]] = {
    "refused": {},
    "throttled": {"status": 429, "retryAfter": 1},
    "an outage": {"status": 503},
    "a reset": {"reset": True},
    "an unlisted code": {"aadsts": 70003},
}


@pytest.mark.promise("secrets-stay-secret")
@pytest.mark.parametrize("case", FAULTS)
async def test_a_refused_secret_is_told_nowhere(
    emulator: EmulatorClient, emulated: Callable[..., Grant], caplog: pytest.LogCaptureFixture, case: str
) -> None:
    caplog.set_level(logging.DEBUG)
    if FAULTS[case]:
        emulator.script("token", **FAULTS[case])

    with pytest.raises(TokenError) as caught:
        await Entra().mint(emulated({"noreply": {"secret": CANARY.encode()}}))

    assert CANARY not in told_by(caught.value)
    assert CANARY not in caplog.text
    assert caught.value.__context__ is None


@pytest.mark.promise("secrets-stay-secret")
async def test_a_token_and_its_secret_are_told_nowhere(
    emulator: EmulatorClient, emulated: Callable[..., Grant], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    grant = emulated()

    token = await Entra().mint(grant)

    assert token.value not in f"{caplog.text} {token!r} {grant!r}"
    assert emulator.client_secret not in f"{caplog.text} {token!r} {grant!r}"
    assert caplog.records, "nothing was logged at all: the search above would find nothing"


@pytest.mark.promise("secrets-stay-secret")
async def test_a_key_is_told_nowhere(
    emulated: Callable[..., Grant], caplog: pytest.LogCaptureFixture, pair_of: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    pair = pair_of()
    grant = emulated({"pair": pair.secret}, credential={"certificate": {"secretRef": {"name": "pair"}}})

    with pytest.raises(TokenError) as caught:
        await Entra().mint(grant)

    secret_line = pair.key.decode().splitlines()[5]
    assert secret_line not in told_by(caught.value) + caplog.text + repr(grant)


@pytest.mark.promise("secrets-stay-secret")
async def test_an_answer_that_holds_the_token_in_the_wrong_shape_is_told_nowhere(
    spec_of: Any, emulated: Callable[..., Grant], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with foreign({"openid-configuration": discovery(), "token": Reply(body=f'"{CANARY}')}) as server:
        grant = emulated(
            {"own": {"ca.crt": server.ca}},
            authority={"url": server.base, "ca": {"secretRef": {"name": "own"}}},
        )
        with pytest.raises(TokenError) as caught:
            await Entra().mint(grant)

    assert CANARY not in told_by(caught.value) + caplog.text


@pytest.mark.promise("secrets-stay-secret")
async def test_no_connection_tells_nothing(emulated: Callable[..., Grant]) -> None:
    with pytest.raises(TokenError) as caught:
        await Entra().mint(emulated({"noreply": {"secret": CANARY.encode()}}, authority={"url": closed()}))

    assert CANARY not in told_by(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.promise("secrets-stay-secret")
def test_bytes_that_are_no_text_are_quoted_nowhere(spec_of: Any) -> None:
    with pytest.raises(TokenError) as caught:
        read_credential(decode_spec(spec_of()), Held({"noreply": {"secret": CANARY.encode() + b"\xff"}}))

    assert CANARY not in told_by(caught.value)


def test_the_search_finds_a_planted_canary() -> None:
    """What makes the absences above mean something: each place is really looked at."""

    class Careless(Exception):
        def __init__(self) -> None:
            super().__init__("careless")
            self.request = CANARY

    planted = [ValueError(CANARY), Careless(), RuntimeError("outer")]
    planted[2].__context__ = UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, "x")

    assert [CANARY in told_by(error) for error in planted] == [True, True, True]
