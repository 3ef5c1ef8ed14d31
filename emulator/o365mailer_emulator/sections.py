"""The sections of the overview page, each a pure function of what is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from o365mailer_emulator.behaviour import PROFILES
from o365mailer_emulator.markup import Markup, facts, joined, table, tag
from o365mailer_emulator.script import shown
from o365mailer_emulator.tenancy import Settings

if TYPE_CHECKING:
    from o365mailer_emulator.ledger import Ledger, Message, Tally
    from o365mailer_emulator.service import Service
    from o365mailer_emulator.tenancy import Mailbox, Tenancy

LATEST = 50  # rows of a table; the control API has all


def mailboxes(service: Service, *, when: Callable[[float], str]) -> Markup:
    """The mailboxes with the number of messages in each, which applications open them, and whether they are locked."""
    held = Counter(message.mailbox.lower() for message in service.ledger.messages)

    def lock(box: Mailbox) -> str:
        found = service.submission.lockouts.lock(box.address)
        return f"{found.reply} until {when(found.until)}" if found else box.locked or "no"

    rows = [
        (
            box.address,
            held[box.address.lower()],
            ", ".join(box.send_as) or "itself only",
            ", ".join(box.applications) or "none",
            lock(box),
        )
        for box in service.tenancy.mailboxes
    ]
    head = ("Mailbox", "Messages", "Also sends as", "Applications with a right", "Locked")
    return _section("Mailboxes", table(head, rows, empty="There is no mailbox."))


def applications(tenancy: Tenancy) -> Markup:
    """The applications, and how each may prove itself to Entra. No secret is shown."""
    rows = [
        (
            tag("code", application.client_id),
            ", ".join(application.roles) or "none",
            len(application.secrets),
            len(application.certificates),
            joined(tag("div", f"{each.subject} of {each.issuer}") for each in application.federated_credentials)
            or "none",
        )
        for application in tenancy.applications
    ]
    head = ("Application", "Roles", "Secrets", "Certificates", "Federated credentials")
    return _section("Applications", table(head, rows, empty="There is no application."))


def messages(ledger: Ledger, *, when: Callable[[float], str], subject: Callable[[Message], str]) -> Markup:
    """The latest messages, newest first, each a link to its own page."""
    rows = [
        (
            when(message.received),
            message.reverse_path or "<>",
            ", ".join(message.recipients[:3]) + (" …" if len(message.recipients) > 3 else ""),
            tag("a", subject(message) or "(no subject)", href=f"/message/{message.number}"),
            f"{len(message.content):,}",
        )
        for message in islice(reversed(ledger.messages), LATEST)
    ]
    head = ("Received (UTC)", "From", "To", "Subject", "Bytes")
    return _section("Messages", table(head, rows, empty="Nothing has arrived yet."))


def simulated(service: Service) -> Markup:
    """The scripted failures, and the settings that differ from Exchange's own."""
    rules = [
        (
            rule["step"],
            "always" if rule["times"] is None else f"next {rule['times']}",
            ", ".join(f"{name}: {value}" for name, value in rule.items() if name not in {"id", "step", "times"}),
        )
        for rule in shown(service.script.rules)
    ]
    usual = msgspec.to_builtins(Settings())
    changed = [
        (name, value) for name, value in msgspec.to_builtins(service.tenancy.settings).items() if value != usual[name]
    ]
    quiet = "No failure is scripted: everything behaves as Office 365 does."
    parts = [table(("Step", "How often", "What happens"), rules, empty=quiet)]
    if changed:
        parts += [tag("h2", "Settings that were changed"), facts(changed)]
    return _section("Scripted failures", *parts, class_="warn" if rules else "")


def unknowns(service: Service) -> Markup:
    """Where the real service's behaviour is not documented: the value in force, and the value of each profile."""
    in_force, profiles = msgspec.to_builtins(service.submission.behaviour), msgspec.to_builtins(PROFILES)
    rows = [(name, value, *(profile[name] for profile in profiles.values())) for name, value in in_force.items()]
    head = ("Undocumented behaviour", "In force", *profiles)
    return _section(f"Profile: {service.tenancy.settings.profile}", table(head, rows, empty=""))


def tokens(ledger: Ledger, *, when: Callable[[float], str], now: float) -> Markup:
    """The latest tokens, by identifier."""
    rows = [
        (
            when(token.issued),
            when(token.expires) + (" (expired)" if token.expires <= now else ""),
            tag("code", token.uti),
            tag("code", token.client_id),
            token.credential,
        )
        for token in islice(reversed(ledger.tokens), LATEST)
    ]
    head = ("Issued (UTC)", "Expires (UTC)", "Token id", "Application", "For a")
    return _section("Tokens issued", table(head, rows, empty="No token has been issued yet."))


def refused_tokens(ledger: Ledger, *, when: Callable[[float], str]) -> Markup:
    """The latest token requests that Entra refused, newest first, with what a client is not told."""
    refused = [event for event in ledger.events if event["kind"] == "entra-refused"]
    rows = [
        (when(event["at"]), event["client"] or "unknown", f"AADSTS{event['code']}", event["reason"])
        for event in refused[: -LATEST - 1 : -1]
    ]
    head = ("Refused (UTC)", "Application", "Error", "More, which the client is not told")
    return _section("Refused token requests", table(head, rows, empty="No token request was refused."))


def refused_logins(ledger: Ledger, *, when: Callable[[float], str]) -> Markup:
    """The latest logins that Exchange refused, newest first, with the reason that a client is not told."""
    refused = [event for event in ledger.events if event["kind"] == "auth-refused"]
    rows = [
        (when(event["at"]), event["mailbox"] or "unknown", event["reason"]) for event in refused[: -LATEST - 1 : -1]
    ]
    head = ("Refused (UTC)", "Mailbox", "Why, which the client is not told")
    return _section("Refused logins", table(head, rows, empty="No login was refused."))


def counters(tally: Tally) -> Markup:
    """Connections, logins, token requests and refusals, counted."""
    logins = f"{tally.auth_ok} accepted, {tally.auth_failed} refused, {tally.auth_expired} with an expired token"
    refused = ", ".join(f"{code}: {tally.replies[code]}" for code in sorted(tally.replies) if code[0] in "45")
    return _section(
        "Counters",
        facts(
            [
                ("Connections", f"{tally.connections} so far, {tally.open_now} open, {tally.open_peak} at most"),
                ("AUTH", logins),
                ("Token requests", f"{tally.tokens_issued} granted, {tally.tokens_refused} refused"),
                ("Replies that refuse", refused or "none"),
            ]
        ),
    )


def directions(addresses: dict[str, Any], tenancy: Tenancy) -> Markup:
    """How to point a mailer at this emulator."""
    smtp = addresses["smtp"]
    manifest = MANIFEST.format(
        tenant=addresses["tenant"],
        client=addresses["clientId"],
        mailbox=addresses["mailbox"],
        authority=addresses["authority"],
        host=smtp["host"],
        port=smtp["port"],
    )
    known = facts(
        [
            ("Authority", tag("code", f"{addresses['authority']}/{addresses['tenant']}")),
            ("Scope", tag("code", f"{tenancy.settings.audiences[0]}/.default")),
            ("Client id", tag("code", str(addresses["clientId"]))),
            ("Client secret", "the one in the configuration; docs/emulator.md names the default"),
            (
                "Submission",
                tag("code", f"{smtp['host']}:{smtp['port']}"),
            ),
            ("Login", "STARTTLS, then AUTH XOAUTH2 with the mailbox and the token"),
            ("Certificate to trust", tag("a", "ca.crt", href="/ca.crt")),
            ("Control API", joined([tag("code", str(addresses["controlUrl"])), ", described in docs/emulator.md"])),
        ]
    )
    return _section("Point a mailer here", known, tag("pre", manifest))


def _section(title: str, *parts: object, class_: str = "") -> Markup:
    heading = tag("h2", title)
    return tag("section", heading, *parts, class_=class_) if class_ else tag("section", heading, *parts)


MANIFEST = """\
apiVersion: o365mailer.dev/v1alpha1
kind: O365Mailer
metadata:
  name: noreply
spec:
  tenantId: {tenant}
  clientId: {client}
  mailbox: {mailbox}
  authority:
    url: {authority}
    ca: {{secretRef: {{name: emulator-ca}}}}
  credential:
    clientSecret:
      secretRefs: [{{name: emulator-app, key: client-secret}}]
  submission:
    host: {host}
    port: {port}
    ca: {{secretRef: {{name: emulator-ca}}}}
"""
