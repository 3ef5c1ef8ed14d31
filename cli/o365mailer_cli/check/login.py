"""The login half of `check`: what a mailer's document or the cluster names is tried, from this machine.

Each host is looked at once and each token is got once, however many mailers share them. All of it runs at once, with
one login at a time for a mailbox: Exchange allows three.
"""

import asyncio
import datetime
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from o365mailer_cli.check import links
from o365mailer_cli.check.applicant import Applicant, Denied
from o365mailer_cli.check.credentials import Obtained, Tokens, unusable
from o365mailer_cli.check.network import Authority, Looked, Submission, look_at_authority, look_at_submission
from o365mailer_cli.document import named_hosts
from o365mailer_cli.finding import Finding, Group, Status
from o365mailer_operator.clock import utc_now
from o365mailer_operator.exchange.causes import Application, Cause, causes_of, headline, told
from o365mailer_operator.exchange.login import Credentials, try_login
from o365mailer_operator.exchange.result import LoginResult
from o365mailer_operator.token.authorities import authorities_of
from o365mailer_operator.token.endpoints import AllowedHosts, Remedies
from o365mailer_operator.token.entra import Entra, RequestToken
from o365mailer_operator.token.errors import HOST_NOT_ALLOWED, TokenError
from o365mailer_operator.token.grant import Grant, grant_of

AT_ONCE: Final = 10
"""Logins at a time."""
ANSWER_LIMIT: Final = 5.0
ATTEMPT_LIMIT: Final = 10.0
"""Seconds for a token: without a byte, and in all."""
FLAGS: Final = Remedies(
    authority="If you trust the host with the mailer's client secret, name it: --allow-authority-host HOST.",
    submission="If you trust the host with the mailbox's token, name it: --allow-submission-host HOST.",
)
STRANGER: Final = (
    "A person who may write mailers, and may not read Secrets, could otherwise have a secret or a token sent to any "
    "host with your rights."
)


@dataclass(frozen=True, kw_only=True)
class LoginOptions:
    """How the login is tried."""

    https_proxy: str | None = None
    environment_proxy: bool = False
    """Whether HTTPS_PROXY is set, which nothing here uses."""
    allowed_hosts: AllowedHosts = field(default_factory=lambda: AllowedHosts(remedies=FLAGS))
    """Where the secret and the token of a mailer in a cluster may go."""
    now: Callable[[], datetime.datetime] = utc_now
    request_token: RequestToken | None = None
    """How a ServiceAccount's token is requested; None for a mailer's document."""


@dataclass(frozen=True)
class Prepared:
    """An applicant, and what it needs: the grant, or why there is none."""

    applicant: Applicant
    authority: Authority
    submission: Submission
    grant: Grant | TokenError


def login_groups(applicants: Sequence[Applicant | Denied], options: LoginOptions) -> list[Group]:
    """Try every login, and say what came of it."""
    return asyncio.run(check_logins(applicants, options))


async def check_logins(applicants: Sequence[Applicant | Denied], options: LoginOptions) -> list[Group]:
    """As `login_groups`, in a loop that runs."""
    prepared = [_prepared(each, options.allowed_hosts) for each in applicants if isinstance(each, Applicant)]
    denied = [each for each in applicants if isinstance(each, Denied)]
    checked = _Check(options)
    rows = await asyncio.gather(*(checked.one(each) for each in prepared))
    ways = [*checked.authorities.values(), *checked.submissions.values()]
    network = [finding for way in ways for finding in way.result().findings]
    return [
        Group("Mailers and their credentials", [*_denied(denied), *(f for row in rows for f in row.credentials)]),
        Group("The way to Entra and to Exchange, from this machine", network),
        Group("Tokens from Entra", [finding for row in rows for finding in row.tokens]),
        Group("Logins at Exchange", [finding for row in rows for finding in row.logins]),
        Group("What no check can tell", _unknowable([row.applicant for row in rows if row.logged_in])),
    ]


@dataclass(frozen=True)
class Row:
    """What was found out about one applicant."""

    applicant: Applicant
    credentials: Sequence[Finding] = ()
    tokens: Sequence[Finding] = ()
    logins: Sequence[Finding] = ()
    logged_in: bool = False


class _Check:
    """Everything that mailers share in one run."""

    def __init__(self, options: LoginOptions) -> None:
        self.options = options
        self.tokens = Tokens(
            Entra(
                request_token=options.request_token,
                proxy=options.https_proxy,
                timeout=ANSWER_LIMIT,
                limit=ATTEMPT_LIMIT,
                clock=options.now,
            ),
            options.now,
        )
        self.authorities: dict[Authority, asyncio.Future[Looked]] = {}
        self.submissions: dict[Submission, asyncio.Future[Looked]] = {}
        self.mailboxes: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.at_once = asyncio.Semaphore(AT_ONCE)

    async def one(self, prepared: Prepared) -> Row:
        """All steps of one applicant."""
        applicant, grant = prepared.applicant, prepared.grant
        if isinstance(grant, TokenError) and grant.reason == HOST_NOT_ALLOWED.word and not applicant.from_document:
            cause, _, remedy = str(grant).partition(". ")
            return Row(applicant, logins=[_not_tried(applicant, f"{cause}. {STRANGER}", remedy)])
        authority, submission = await asyncio.gather(self._authority(prepared), self._submission(prepared))
        credentials = [_source(applicant)]
        if isinstance(grant, TokenError):
            return Row(applicant, [*credentials, unusable(applicant, grant)])
        if applicant.from_document:
            credentials += self.tokens.lifetime(applicant, grant)
        if not authority.open:
            return Row(
                applicant, credentials, logins=[_not_tried(applicant, "There is no token without a way to Entra.")]
            )
        obtained = await self.tokens.obtain(applicant, grant)
        if not obtained.token:
            return Row(applicant, credentials, obtained.findings)
        if not submission.open:
            skipped = _not_tried(applicant, "The submission host does not lead to a login, see above.")
            return Row(applicant, credentials, obtained.findings, [skipped])
        login = await self._log_in(prepared, obtained)
        return Row(applicant, credentials, obtained.findings, [login], logged_in=login.status is Status.OK)

    async def _log_in(self, prepared: Prepared, obtained: Obtained) -> Finding:
        spec = prepared.applicant.spec
        token = obtained.token.value if obtained.token else ""
        async with self.mailboxes[spec.mailbox.lower()], self.at_once:
            result = await try_login(prepared.submission.target, Credentials(spec.mailbox, token))
        application = Application(
            client_id=spec.client_id,
            mailbox=spec.mailbox,
            object_id=obtained.claims.object_id if obtained.claims else "",
            roles=obtained.token.roles if obtained.token else None,
            name=prepared.applicant.name,
        )
        return _login(prepared.applicant, result, causes_of(result, application), self.options.now())

    async def _authority(self, prepared: Prepared) -> Looked:
        authority = prepared.authority
        if authority not in self.authorities:
            looking = look_at_authority(
                authority, proxy=self.options.https_proxy, environment_proxy=self.options.environment_proxy
            )
            self.authorities[authority] = asyncio.ensure_future(looking)
        return await asyncio.shield(self.authorities[authority])

    async def _submission(self, prepared: Prepared) -> Looked:
        submission = prepared.submission
        if submission not in self.submissions:
            self.submissions[submission] = asyncio.ensure_future(look_at_submission(submission))
        return await asyncio.shield(self.submissions[submission])


def _source(applicant: Applicant) -> Finding:
    """Where the mailer and its Secrets were read."""
    title = "its document is valid"
    if not applicant.from_document:
        title = "its Secrets were read with your own rights, to try its login from this machine"
    return Finding(name="login.mailer", status=Status.OK, title=title, subject=applicant.subject)


def _prepared(applicant: Applicant, allowed: AllowedHosts) -> Prepared:
    """Read what the spec names. A host is looked at also if the credential cannot be used.

    `allowed`: of a mailer in the cluster. A document may name any host, because one person has it and the secret.
    """
    spec, source, endpoints = applicant.spec, applicant.source, applicant.spec.endpoints
    grant: Grant | TokenError
    authorities, submission_authorities = None, None
    try:
        endpoints.check(own := named_hosts(endpoints) if applicant.from_document else allowed)
        authorities = authorities_of(spec.authority.ca, source)
        submission_authorities = authorities_of(spec.submission.ca, source)
        grant = grant_of(spec, source, allowed=own)
    except TokenError as error:
        grant = error
    return Prepared(
        applicant,
        Authority(endpoints.authority.rpartition("/")[0], authorities),
        Submission(endpoints.submission_host, endpoints.submission_port, submission_authorities),
        grant,
    )


def _login(applicant: Applicant, result: LoginResult, causes: Sequence[Cause], now: datetime.datetime) -> Finding:
    mailbox = applicant.spec.mailbox
    if result.ok:
        title = f"Exchange lets the application log in as {mailbox} ({result.seconds:.1f} s)"
        return Finding(name="login", status=Status.OK, title=title, subject=applicant.subject)
    cause, remedy = told(causes, now=now, setup=applicant.setup)
    return Finding(
        name="login",
        status=Status.FAILED if result.refused else Status.UNKNOWN,
        title=headline(result, mailbox),
        subject=applicant.subject,
        cause=cause,
        remedy=remedy,
        link=links.of_login(result),
    )


def _not_tried(applicant: Applicant, why: str, remedy: str = "Do what is said above first.") -> Finding:
    return Finding(
        name="login",
        status=Status.UNKNOWN,
        title=f"the login as {applicant.spec.mailbox} was not tried",
        subject=applicant.subject,
        cause=why,
        remedy=remedy,
        link=links.COMMAND,
    )


def _denied(denied: Sequence[Denied]) -> list[Finding]:
    """One finding for all whose Secrets the user may not read, one each for the others."""
    found = [
        Finding(
            name="credential",
            status=Status.FAILED,
            title="its spec cannot be read (InvalidSpec)",
            subject=each.subject,
            cause=each.why,
            remedy="Correct the member that the message names, or use the command of the controller's version.",
            link=f"{links.PAGE}#invalidspec",
        )
        for each in denied
        if not each.forbidden
    ]
    forbidden = [each for each in denied if each.forbidden]
    if forbidden:
        names = ", ".join(each.subject for each in forbidden[:5]) + (" …" if len(forbidden) > 5 else "")
        found.append(
            Finding(
                name="credential",
                status=Status.UNKNOWN,
                title=f"the login of {names} cannot be tried from here: you may not read what it names",
                cause=forbidden[0].why,
                remedy="Look at the mailer's condition TokenIssued, which the controller sets. To try the login, ask "
                "for the right to get these Secrets and ConfigMaps, or check the mailer's document: "
                "o365mailer check -f FILE.",
                link=links.COMMAND,
            )
        )
    return found


def _unknowable(logged_in: Sequence[Applicant]) -> list[Finding]:
    """Said once, because it is true of every mailer."""
    if not logged_in:
        return []
    commands = list(dict.fromkeys(applicant.send_test for applicant in logged_in))
    more = f"\n… and {len(commands) - 3} more" if len(commands) > 3 else ""
    return [
        Finding(
            name="login.message",
            status=Status.UNKNOWN,
            title="whether Exchange takes a message",
            cause="A right that is missing although the login works (430), a sender that is not allowed (554 5.2.252), "
            "a mailbox that is full or locked: Exchange tells these at the end of a message alone.",
            remedy="Send one:\n" + "\n".join(commands[:3]) + more,
            link=links.MESSAGE,
        )
    ]
