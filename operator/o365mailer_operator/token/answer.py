"""Judges Entra's answers: status, headers and body in, an error of ours or none out. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec

from o365mailer_operator.printable import printable
from o365mailer_operator.token.aadsts import CODES
from o365mailer_operator.token.errors import (
    ENTRA_ANSWER_INVALID,
    ENTRA_THROTTLED,
    ENTRA_UNREACHABLE,
    EntraError,
    EntraRefused,
)
from o365mailer_operator.token.schedule import LONGEST_RETRY_AFTER

LONGEST_DESCRIPTION: Final = 200
"""Characters of Entra's own words that are shown for a code that is not in our table."""


@dataclass(frozen=True)
class Presented:
    """The credential of a request, for messages about it. Holds no secret."""

    words: str
    """Such as `the secret noreply/secret`."""
    command: str = ""
    """What a person runs so that Entra trusts it, if a command can do that."""


@dataclass(frozen=True)
class Answer:
    """One HTTP answer in the shape that MSAL wants (`status_code`, `headers`, `text`)."""

    host: str
    status_code: int
    headers: Mapping[str, str]
    """Names in lower case."""
    text: str

    def raise_for_status(self) -> None:
        """MSAL calls it for bad answers; none reaches it, because `error_in` judges them first."""


def error_in(answer: Answer, *, presented: Presented) -> EntraError | None:
    """What is wrong with an answer of discovery or of the token endpoint; None for a 200 with a JSON object."""
    body = _object_in(answer.text)
    correlation = _correlation_of(answer, body or {})
    status = answer.status_code
    if status == HTTPStatus.OK:
        if body is None:
            return EntraError(
                ENTRA_ANSWER_INVALID, f"{answer.host} answered with something that is not JSON. {_ELSEWHERE}"
            )
        return None
    retry_after = _retry_after_of(answer)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        asked = f" for {retry_after:.0f} s" if retry_after else ""
        return EntraError(
            ENTRA_THROTTLED,
            f"Entra asks to wait{asked} (HTTP 429). Nothing to do: it is tried again.",
            retry_after=retry_after,
            correlation_id=correlation,
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        return EntraError(
            ENTRA_UNREACHABLE,
            f"{answer.host} has a fault (HTTP {status}). Nothing to do: it is tried again.",
            retry_after=retry_after,
            correlation_id=correlation,
        )
    if status >= HTTPStatus.BAD_REQUEST and body is not None and "error" in body:
        return _refusal(body, presented=presented, retry_after=retry_after, correlation=correlation)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return EntraError(
            ENTRA_ANSWER_INVALID, f"{answer.host} redirects (HTTP {status}), which is not followed. {_ELSEWHERE}"
        )
    return EntraError(ENTRA_ANSWER_INVALID, f"{answer.host} answered HTTP {status} and no OAuth error. {_ELSEWHERE}")


_ELSEWHERE: Final = "Something else may answer in Entra's place: check spec.authority.url, and the proxy."


def _refusal(
    body: Mapping[str, Any], *, presented: Presented, retry_after: float | None, correlation: str | None
) -> EntraRefused:
    code = _code_in(body)
    known = CODES.get(code) if code is not None else None
    if known:
        remedy = known.remedy
        if known.trusts_by_command and presented.command:
            remedy += f" This adds it: {presented.command}"
        text = f"Entra refused {presented.words}: {known.cause} (AADSTS{code}). {remedy}"
    else:
        number = f"AADSTS{code}" if code is not None else "no AADSTS code"
        remedy = ""
        text = f"Entra refused {presented.words} ({number}, {_word(body.get('error'))}): {_description_in(body)}"
    return EntraRefused(text, code=code, remedy=remedy, retry_after=retry_after, correlation_id=correlation)


def _object_in(text: str) -> dict[str, Any] | None:
    try:
        decoded = msgspec.json.decode(text)
    except ValueError:
        return None
    return decoded if isinstance(decoded, dict) else None


def _code_in(body: Mapping[str, Any]) -> int | None:
    codes = body.get("error_codes")
    if isinstance(codes, list) and codes and isinstance(codes[0], int):
        return codes[0]
    found = re.match(r"AADSTS([0-9]{4,9})\b", str(body.get("error_description", "")))
    return int(found[1]) if found else None


def _description_in(body: Mapping[str, Any]) -> str:
    """Entra's first sentence, without the trace after it. Entra never repeats the secret in it."""
    first = str(body.get("error_description") or "no description").splitlines()[0].split(" Trace ID:")[0]
    return printable(first, longest=LONGEST_DESCRIPTION)


def _word(value: object) -> str:
    return re.sub(r"[^a-z_]", "", str(value))[:40]


def _correlation_of(answer: Answer, body: Mapping[str, Any]) -> str | None:
    value = str(body.get("correlation_id") or answer.headers.get("x-ms-request-id") or "")
    return value if re.fullmatch(r"[0-9A-Za-z-]{1,64}", value) else None


def _retry_after_of(answer: Answer) -> float | None:
    """Seconds; Entra sends a whole number, never a date (MSAL's throttling relies on the same)."""
    value = answer.headers.get("retry-after", "")
    return min(float(value), LONGEST_RETRY_AFTER) if re.fullmatch(r"[0-9]{1,100}", value) else None
