"""Why a login fails and what to do: the likely causes in the order of their likelihood, with the very commands. Pure.

Exchange gives one reply, `535 5.7.3`, for many causes. So they are listed with how to tell them apart, and none of them
is claimed. Sources: Microsoft Learn, "Authenticate an IMAP, POP or SMTP connection using OAuth", "Role Based Access
Control for Applications in Exchange Online" and "Test-ServicePrincipalAuthorization"; the order is that of public
reports (MailKit#1126, nodemailer#1485, sasl-xoauth2#98).
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from o365mailer_contract.replies import Outcome
from o365mailer_operator.exchange.objects import PERMISSION, ROLE
from o365mailer_operator.exchange.result import Fault, LoginResult, Stage

SPREADING: Final = datetime.timedelta(hours=2)
"""How long Exchange may take until a changed right is known everywhere (30 minutes to two hours)."""
_SPREADING: Final = "2 hours"
THIS_MACHINE: Final = "this machine"
"""Where the login was tried, for `check`."""


@dataclass(frozen=True, kw_only=True)
class Application:
    """Who logs in, as Entra and Exchange know it."""

    client_id: str
    mailbox: str
    object_id: str = ""
    """Of the enterprise application: the token's claim `oid`. Empty if it is not known."""
    roles: frozenset[str] | None = None
    """The application rights in the token."""
    name: str = "o365mailer"
    """Of its objects in Exchange: `objects.object_name`."""


@dataclass(frozen=True)
class Cause:
    """One possible cause."""

    text: str
    remedy: str
    """What a person does; commands stand on lines of their own."""
    sign: str = ""
    """How to tell whether it is this one. Empty for a cause that is certain."""


def causes_of(result: LoginResult, application: Application, *, here: str = THIS_MACHINE) -> tuple[Cause, ...]:
    """The causes of a failed attempt, the likeliest first. Empty if it did not fail. `here`: where it was tried."""
    if result.ok:
        return ()
    if result.fault:
        return (_of_fault(result, here),)
    if result.stage is not Stage.AUTH:
        rule = result.rule
        remedy = (
            rule and rule.remedy
        ) or "Try again in some minutes. If it lasts, something else answers in its place."
        return (Cause(f"{result.place} answered {result.reply} instead of what the protocol asks.", _sentence(remedy)),)
    return _of_refusal(result, application)


def headline(result: LoginResult, mailbox: str) -> str:
    """What came of an attempt that failed, in one line, for the middle of a sentence too."""
    said = f" ({result.reason}): {result.reply}" if result.reply else f" ({result.reason})"
    if result.refused:
        return f"Exchange refuses the login as {mailbox}{said}"
    return f"whether Exchange lets the application log in as {mailbox} is unknown{said}"


def told(causes: Sequence[Cause], *, now: datetime.datetime, setup: str) -> tuple[str, str]:
    """The cause and the remedy in words. One cause as it is; several as a list, the likeliest first, each with how to
    tell it from the others. `setup`: the command that prints the script which sets all of it up."""
    if len(causes) == 1:
        return causes[0].text, causes[0].remedy
    head = (
        f"Exchange does not say which of these it is. The likeliest is the first. Exchange takes up to {_SPREADING} to "
        f"know a change: what was changed after {now - SPREADING:%H:%M} UTC may not be in force yet."
    )
    lines = [head, *(f"{number}. {cause.text}" for number, cause in enumerate(causes, start=1))]
    steps = ["In Exchange Online PowerShell, in this order:"]
    for number, cause in enumerate(causes, start=1):
        steps += [f"{number}. If", *_indented(cause.sign), "   then", *_indented(cause.remedy)]
    return "\n".join(lines), "\n".join([*steps, f"The whole script: {setup}"])


def _indented(text: str) -> list[str]:
    return [f"     {line}" for line in text.split("\n")]  # splitlines() would also split within a quoted mailbox


def quoted(value: str) -> str:
    """A value as an argument in PowerShell, in quotes where it needs them."""
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9@._-]*", value)
    return value if plain else "'" + re.sub(r"(['\u2018-\u201b])", r"\1\1", value) + "'"


def _of_fault(result: LoginResult, here: str) -> Cause:
    host, place, detail = result.host, result.place, result.detail
    clock = f"Set {here}'s clock right (chronyc tracking, timedatectl)"
    in_words = f" ({detail})" if detail else ""
    match result.fault:
        case Fault.UNKNOWN_HOST:
            text = f"DNS knows no host {host}{in_words}."
            remedy = (
                f"Correct the name, or {here}'s DNS: nslookup {host}\n"
                "Without spec.submission.host, spec.cloud names the right host."
            )
        case Fault.DNS_SILENT:
            text = f"The name servers do not answer for {host}{in_words}."
            remedy = f"Look at {here}'s DNS: nslookup {host}"
        case Fault.REFUSED:
            text = f"Something rejects connections to {place}: a firewall, or no program listens there."
            remedy = _open(result)
        case Fault.UNREACHABLE:
            text = f"There is no way to {place}{in_words}."
            remedy = _open(result)
        case Fault.SILENT if result.stage is Stage.CONNECT:
            text = f"Packets to {place} are dropped on the way{in_words}: a firewall blocks the port."
            remedy = _open(result)
        case Fault.UNTRUSTED:
            return _of_distrust(result)
        case Fault.WRONG_NAME:
            text = f"The certificate of {place} is for other names{in_words}: another server answers."
            remedy = "Name the host by its DNS name in spec.submission.host, not by an address, and look at DNS."
        case Fault.EXPIRED:
            text = f"The certificate of {place} has expired, or {here}'s clock is fast."
            remedy = f"{clock}. If it is right, tell the host's owner."
        case Fault.NOT_YET_VALID:
            text = f"The certificate of {place} is not valid yet: {here}'s clock is slow."
            remedy = f"{clock}."
        case _:
            text = f"{place} {_MISBEHAVIOUR[result.fault or Fault.CLOSED]} (at {result.stage.value}{_also(detail)})."
            remedy = _MIDDLEBOX
    return Cause(text, remedy)


_MISBEHAVIOUR: Final = {
    Fault.SILENT: "took the connection and then gave no answer",
    Fault.CLOSED: "ended the connection",
    Fault.NO_SMTP: "does not speak SMTP",
    Fault.NO_STARTTLS: "offers no STARTTLS",
    Fault.INJECTED: "sent bytes in clear together with its reply to STARTTLS, as an attacker would",
    Fault.TLS: "failed in the TLS handshake",
    Fault.NO_XOAUTH2: "offers no AUTH XOAUTH2",
}
_MIDDLEBOX: Final = (
    "Something on the way changes SMTP (a firewall's SMTP inspection, a virus scanner), or another server answers: "
    "exempt the host from it, and check spec.submission.host."
)


def _also(detail: str) -> str:
    return f"; {detail}" if detail else ""


def _open(result: LoginResult) -> str:
    return (
        f"Allow outgoing TCP to {result.place}: firewall, egress gateway, NetworkPolicy, the cloud's security group. "
        "SMTP does not go through an HTTP proxy."
    )


def _of_distrust(result: LoginResult) -> Cause:
    peer = result.peer
    by = f"signed by {peer.authority}" if peer else "not signed by a trusted authority"
    if peer and peer.issuer != peer.authority:
        by += f" (through {peer.issuer})"
    if result.private:
        return Cause(
            f"The certificate of {result.place} is {by}. spec.submission.ca names other authorities alone.",
            "Put that authority into the Secret or ConfigMap that it names, if you trust it. Exchange Online needs no "
            "ca.",
        )
    return Cause(
        f"The certificate of {result.place} is {by}, which is no public authority: something on the way inspects TLS.",
        f"Exempt {result.place} from the inspection. Or, if you trust it, put the authority's certificate into a "
        "Secret or ConfigMap and name it in spec.submission.ca.",
    )


def _of_refusal(result: LoginResult, application: Application) -> tuple[Cause, ...]:
    """AUTH got a reply that is no 235."""
    rule, reply = result.rule, result.reply
    if not rule or not reply:
        return ()
    mailbox = quoted(application.mailbox)
    match rule.reason:
        case "smtp-auth-disabled":
            tenant = "for the tenant" in reply.text.lower()
            whose = "the tenant, and the mailbox has no switch of its own" if tenant else "the mailbox"
            return (
                Cause(
                    f"SMTP AUTH is off for {whose}.",
                    f"Set-CASMailbox -Identity {mailbox} -SmtpClientAuthenticationDisabled $false\n"
                    "It turns SMTP AUTH on for this mailbox alone, and takes up to an hour.",
                ),
            )
        case "blocked-by-policy":
            return (Cause(f"A policy of the tenant blocks the login: {reply}", _sentence(rule.remedy)),)
        case "app-not-allowed":
            add = f"Add-HVEAppAccess -Identity {mailbox} -AppIds {quoted(application.client_id)}"
            return (Cause("The High Volume Email account does not list the application.", add),)
        case "token" if reply.enhanced != "5.7.144":
            return _of_unsuccessful(application)
    if rule.outcome is Outcome.THROTTLED:
        text = "All three connections that Exchange allows the mailbox are in use. It says nothing about the right."
        return (Cause(text, "Try again. If it lasts, give a busy app a mailbox of its own."),)
    return (Cause(f"Exchange answered {reply}", _sentence(rule.remedy or "try again in some minutes")),)


def _of_unsuccessful(application: Application) -> tuple[Cause, ...]:
    """535 5.7.3: the causes that it has had, in the order of their frequency."""
    client, mailbox = quoted(application.client_id), quoted(application.mailbox)
    object_id = quoted(application.object_id) if application.object_id else "OBJECT_ID_OF_THE_ENTERPRISE_APPLICATION"
    name = quoted(application.name)
    show = f"Get-ServicePrincipal -Identity {client} | Format-List AppId,ObjectId"
    test = f"Test-ServicePrincipalAuthorization -Identity {client} -Resource {mailbox}"
    create = f"New-ServicePrincipal -AppId {client} -ObjectId {object_id} -DisplayName {name}"
    return (
        Cause("Exchange has no service principal for the application.", create, f"{show}\nshows nothing."),
        Cause(
            "The service principal in Exchange has the object id of the app registration. It must be the enterprise "
            "application's.",
            f"Remove-ServicePrincipal -Identity {client}\n{create}",
            f"{show}\nshows an ObjectId other than {object_id}.",
        ),
        _without_right(application, sign=f"{test}\nshows no row {ROLE} with InScope True."),
        Cause(
            f"The right is there and still spreads: Exchange takes up to {_SPREADING} after each change.",
            f"Wait until {_SPREADING} after the last change, and check again. Until then, a refusal proves nothing.",
            f"{test}\nshows {ROLE} with InScope True: it does not use the cache that logins use.",
        ),
        Cause(
            "SMTP AUTH is off for the mailbox, or it is no mailbox of this tenant.",
            f"Set-CASMailbox -Identity {mailbox} -SmtpClientAuthenticationDisabled $false",
            f"Get-CASMailbox -Identity {mailbox} | Format-List SmtpClientAuthenticationDisabled\n"
            "shows True, or an error.",
        ),
    )


def _without_right(application: Application, *, sign: str) -> Cause:
    client, mailbox = quoted(application.client_id), quoted(application.mailbox)
    name = quoted(application.name)
    text = "The application has no right on the mailbox, or the mailbox is outside the scope of its role."
    only = "PrimarySmtpAddress -eq '" + application.mailbox.replace("'", "''") + "'"
    # Within double quotes, a mailbox such as a";Remove-Mailbox…@contoso.com would be code.
    scope = f'"{only}"' if mailbox == application.mailbox else quoted(only)
    assign = (
        f"New-ManagementScope -Name {name} -RecipientRestrictionFilter {scope}\n"
        f"New-ManagementRoleAssignment -Name {name} -Role '{ROLE}' -App {client} -CustomResourceScope {name}"
    )
    if PERMISSION in (application.roles or ()):
        text += f" Its token has the Entra permission {PERMISSION}, which needs a right on the mailbox in addition."
        assign += (
            f"\nOr the older way, which also lets it read the mailbox:\n"
            f"Add-MailboxPermission -Identity {mailbox} -User {quoted(application.object_id or application.client_id)} "
            "-AccessRights FullAccess"
        )
    return Cause(text, assign, sign)


def _sentence(text: str) -> str:
    """A remedy of the table as a sentence. A cmdlet stays as it is."""
    begin = text if "-" in text.split(" ")[0] else text[:1].upper() + text[1:]
    return begin if begin.endswith((".", "false")) else f"{begin}."
