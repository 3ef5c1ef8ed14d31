"""Tokens: each credential of a mailer tried at Entra, and what the token says. Also when a credential ends."""

import asyncio
import dataclasses
import datetime
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from o365mailer_cli.check import links
from o365mailer_cli.check.applicant import Applicant
from o365mailer_cli.finding import Finding, Status
from o365mailer_cli.wording import span
from o365mailer_operator.exchange.excess import CAUSE, REMEDY, excess_rights, more_rights
from o365mailer_operator.exchange.objects import ROLE
from o365mailer_operator.printable import printable
from o365mailer_operator.token.bearer import Token, claims_of, object_id_in
from o365mailer_operator.token.certificate import Certificate
from o365mailer_operator.token.clientsecret import ClientSecrets
from o365mailer_operator.token.entra import Entra
from o365mailer_operator.token.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_NOT_YET_VALID,
    TOKEN_REQUEST_FORBIDDEN,
    EntraRefused,
    TokenError,
)
from o365mailer_operator.token.grant import Grant
from o365mailer_operator.token.schedule import urgency

_REMEDIES: Final = {
    CERTIFICATE_EXPIRED.word: "Renew the certificate, and upload the new one to the app registration.",
    CERTIFICATE_NOT_YET_VALID.word: "Wait until then, or set this machine's clock right.",
    "EntraUnreachable": "Allow outgoing TCP to the host, or name the proxy on the way: --https-proxy URL.",
    "EntraNotTrusted": "Name the authority in spec.authority.ca if you trust it.",
    "EntraAnswerInvalid": "Look for a captive portal or a proxy in between, and check spec.authority.url.",
    "EntraThrottled": "Wait, then check again.",
    "EntraRefused": "Look the code up on Microsoft's page of AADSTS codes; their support wants the correlation id.",
    "TokenRequestFailed": "Check again.",
    "SecretUnreadable": "Ask for the right to get this Secret, or check where it can be read.",
    "ConfigMapUnreadable": "Ask for the right to get this ConfigMap, or check where it can be read.",
}
"""For reasons whose message alone does not end with what to do."""


_AGAIN: Final = re.compile(r"[.;] (?:Nothing to do: )?[Ii]t is tried again\.")
"""What the controller does; this command does not."""


@dataclass(frozen=True)
class Claims:
    """What a person compares: whom a token is for. Never the token itself."""

    audience: str
    application: str
    tenant: str
    object_id: str
    roles: tuple[str, ...]

    @classmethod
    def of(cls, token: Token) -> "Claims":
        """The claims of a token, unverified."""
        claims = claims_of(token.value)

        def text(name: str) -> str:
            return printable(str(claims.get(name) or "-"))

        return cls(text("aud"), text("appid"), text("tid"), object_id_in(claims), tuple(sorted(token.roles or ())))

    def __str__(self) -> str:
        roles = ", ".join(printable(role) for role in self.roles) or f"none, which is right with {ROLE}"
        return f"aud {self.audience}, appid {self.application}, tid {self.tenant}, roles {roles}"


@dataclass(frozen=True)
class Obtained:
    """What came of an applicant's credentials: findings, and the token if Entra gave one."""

    findings: list[Finding]
    token: Token | None = field(default=None, repr=False)
    claims: Claims | None = None


class Tokens:
    """Gets tokens. Mailers of the same application and credential share one, as the controller shares theirs."""

    def __init__(self, entra: Entra, now: Callable[[], datetime.datetime]) -> None:
        self.entra, self.now = entra, now
        self.shared: dict[Any, asyncio.Task[Token]] = {}

    async def obtain(self, applicant: Applicant, grant: Grant) -> Obtained:
        """Try each credential of the mailer. Raises nothing about the network."""
        attempts = await asyncio.gather(*(self._attempt(single) for single in _each(grant)))
        works = next((outcome for outcome in attempts if isinstance(outcome, Token)), None)
        findings = [
            _finding(applicant, single, outcome, works is not None)
            for single, outcome in zip(_each(grant), attempts, strict=True)
        ]
        if isinstance(grant.credential, ClientSecrets):
            findings += [
                _unusable(applicant, each.ref, each.message, each.reason) for each in grant.credential.unreadable
            ]
        if works is None:
            return Obtained(findings)
        claims = Claims.of(works)
        return Obtained([*findings, *_roles(applicant, claims)], works, claims)

    async def _attempt(self, grant: Grant) -> Token | TokenError:
        key = (grant.endpoints.authority, grant.endpoints.scope, grant.client_id, grant.credential, grant.authorities)
        if key not in self.shared:
            self.shared[key] = asyncio.ensure_future(self.entra.mint(grant))
        try:
            return await asyncio.shield(self.shared[key])
        except TokenError as error:
            return error

    def lifetime(self, applicant: Applicant, grant: Grant) -> Iterator[Finding]:
        """When the credential ends: a certificate says so, a client secret if its owner has noted it."""
        if isinstance(grant.credential, Certificate):
            yield _ends(applicant, str(grant.credential), grant.credential.not_after, self.now())
        elif (secret := applicant.spec.credential.client_secret) and secret.expires_at:
            yield _ends(applicant, "the client secret (spec.…expiresAt)", secret.expires_at, self.now())


def _each(grant: Grant) -> list[Grant]:
    """The grant with one credential at a time."""
    if not isinstance(grant.credential, ClientSecrets):
        return [grant]
    return [dataclasses.replace(grant, credential=ClientSecrets((each,))) for each in grant.credential.secrets]


def _finding(applicant: Applicant, grant: Grant, outcome: Token | TokenError, another_works: bool) -> Finding:
    what = str(grant.credential)
    if isinstance(outcome, Token):
        return Finding(
            name="token.issued",
            status=Status.OK,
            title=f"Entra gives a token for {what}: {Claims.of(outcome)}",
            subject=applicant.subject,
        )
    cause, remedy = told(outcome)
    if outcome.reason == TOKEN_REQUEST_FORBIDDEN.word:
        return Finding(
            name="token.issued",
            status=Status.UNKNOWN,
            title=f"the login with {what} cannot be tried from here",
            subject=applicant.subject,
            cause=cause,
            remedy=remedy,
            link=links.COMMAND,
        )
    return Finding(
        name="token.issued",
        status=Status.WARNING if another_works else Status.FAILED,
        title=f"Entra gives no token for {what} ({outcome.reason})" + ("; the other works" if another_works else ""),
        subject=applicant.subject,
        cause=cause,
        remedy=remedy,
        link=links.of_token(outcome),
    )


def told(error: TokenError) -> tuple[str, str]:
    """The cause and the remedy that an error of ours tells in one text."""
    text = _AGAIN.sub(".", str(error))
    if isinstance(error, EntraRefused) and error.remedy:
        return text.replace(f" {error.remedy}", ""), error.remedy
    if error.reason in _REMEDIES:
        return text, _REMEDIES[error.reason]
    cause, stop, remedy = text.partition(". ")
    return (f"{cause}.", remedy) if stop else (text, "Do what the message says.")


def unusable(applicant: Applicant, error: TokenError) -> Finding:
    """The finding that no credential can be used as it is, before Entra is asked."""
    cause, remedy = told(error)
    if place := applicant.source.place(error):
        remedy = f"{remedy} Here that is {place}."
    return Finding(
        name="credential",
        status=Status.FAILED,
        title=f"its credential cannot be used ({error.reason})",
        subject=applicant.subject,
        cause=cause,
        remedy=remedy,
        link=links.of_token(error),
    )


def _unusable(applicant: Applicant, ref: str, message: str, reason: str) -> Finding:
    cause, stop, remedy = message.partition(". ")
    return Finding(
        name="credential",
        status=Status.WARNING,
        title=f"the secret {ref} cannot be used ({reason})",
        subject=applicant.subject,
        cause=f"{cause}." if stop else cause,
        remedy=remedy or "Do what the message says.",
        link=f"{links.PAGE}#{reason.lower()}",
    )


def _roles(applicant: Applicant, claims: Claims) -> Iterator[Finding]:
    if excess := excess_rights(claims.roles):
        yield Finding(
            name="token.roles",
            status=Status.WARNING,
            title=more_rights(excess),
            subject=applicant.subject,
            cause=CAUSE,
            remedy=REMEDY,
            link=links.RIGHTS,
        )


def _ends(applicant: Applicant, what: str, ends: datetime.datetime, now: datetime.datetime) -> Finding:
    left = ends - now
    name, subject = "credential.end", applicant.subject
    urgent = urgency(left)
    if urgent is None:
        return Finding(name=name, status=Status.OK, title=f"{what} is valid for {left.days} days", subject=subject)
    over = left <= datetime.timedelta()
    return Finding(
        name=name,
        status=Status.FAILED if over else Status.WARNING,
        title=f"{what} ended on {ends:%Y-%m-%d}"
        if over
        else f"{what} ends in {span(left.total_seconds())}, on {ends:%Y-%m-%d}",
        subject=subject,
        cause="After its end, Entra gives no token, and no mail leaves.",
        remedy=f"{urgent}: add a second one in Entra, put it into the Secret, and remove the old one after that.",
        link=links.ENDS,
    )
