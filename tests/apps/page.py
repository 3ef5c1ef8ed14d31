"""Makes docs/apps.md from the table of programs and the results of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from apps.programs import PROGRAMS, Program
from apps.scenarios import DELIVERED, REFUSED, Scenario

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "apps.md"
RESULTS: Final = Path(__file__).resolve().parent / "results.json"

WAITS: Final = RESULTS.with_name("waits.json")

AT_MOST: Final = 65
"""Seconds for which a run sends a program no reply: more than a minute, the limit of several programs."""

Results = dict[str, dict[str, dict[str, Any]]]
"""Program → scenario → the result of `driver.outcome`."""


Waits = dict[str, int | None]
"""Program → seconds until it gave up; None: it still waited after `AT_MOST`."""


def waits() -> Waits:
    """The committed waits."""
    read: Waits = json.loads(WAITS.read_text(encoding="utf-8"))
    return read


def results() -> Results:
    """The committed results."""
    read: Results = json.loads(RESULTS.read_text(encoding="utf-8"))
    return read


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def delivered(scenario: Scenario, kept: dict[str, Any]) -> str:
    """The cell for a mail that should arrive."""
    if not kept["arrived"]:
        return f"no: `{kept['told']}`" + (f", {kept['code']}" if kept["code"] else "")
    if kept["arrived"] != [list(recipients) for recipients in scenario.arrives]:
        return f"to `{kept['arrived'][0][0]}`"
    return {"as it is": "yes", "encoded": "yes, encoded", "altered": "yes, lines broken"}[kept["form"]]


def reported(kept: dict[str, Any]) -> str:
    """What the program reported, and which part of the reply is missing in it."""
    seen = {(True, True): "", (True, False): ", code only", (False, True): ", text only", (False, False): ", neither"}
    return f"`{kept['told']}`{seen[kept['code'] is not None, kept['reason']]}"


def refused(scenario: Scenario, kept: dict[str, Any]) -> str:
    """The cell for a refusal."""
    if len(scenario.recipients) < 2 or not scenario.arrives:
        return reported(kept)
    return reported(kept) + (": the other gets it" if kept["arrived"] else ": no recipient gets it")


def overview(scenarios: tuple[Scenario, ...], cell: Callable[[Scenario, dict[str, Any]], str], found: Results) -> str:
    """A row for each program."""
    heads = ["Program", *(scenario.heading for scenario in scenarios)]
    rows = [[p.title, *(cell(s, found[p.name][s.name]) for s in scenarios)] for p in PROGRAMS]
    return table(heads, rows)


def waited(seconds: int | None) -> str:
    """The cell for how long a program waits."""
    return f"over {AT_MOST} s" if seconds is None else f"{seconds} s"


def settings(programs: tuple[Program, ...], waits: Waits) -> str:
    """The table of what each program needs."""
    heads = ["Program", "Needs", "Leave out: it requires TLS with", "Waits", "After 451 the mail is"]
    return table(heads, [[p.title, p.plain, p.insists, waited(waits[p.name]), p.again] for p in programs])


def page(found: Results, waits: Waits) -> str:
    """The whole page."""
    return TEMPLATE.format(
        delivered=overview(DELIVERED, delivered, found),
        refused=overview(REFUSED, refused, found),
        settings=settings(PROGRAMS, waits),
        at_most=AT_MOST,
    )


TEMPLATE: Final = """\
# Apps and what they report

This page shows what programs need to send through the sidecar, and what they report. Each program ran against the
sidecar, with the [emulator](emulator.md) in place of Office 365. `make apps` runs them and writes this page.
`make test` runs them again and compares the results. The programs are Debian 12's packages and the versions that
`tests/apps/sources` and `locks/apps.txt` pin.

## Configure the app

Use host `127.0.0.1`, port 25 (or 587), no TLS and no login.

{settings}

**Waits** is how long the program waits by default for the reply to its message. In the run the reply never came,
and the run ended after {at_most} s. The sidecar answers within `delivery.confirmWithin` (8 s), unless it has already
sent the message to Office 365 and only the verdict is missing. Set `confirmWithin` below what your app waits.
Otherwise the app may give up first, and does not know whether the mail was sent. All programs in this table wait
longer than 8 s by default, but each has a setting for it, and frameworks may set it: Keycloak waits 10 s, and
Ruby's `mail` gem, which Rails uses, 5 s. For the `mail` gem, set `delivery.confirmWithin: 4s`, or `read_timeout: 30` in
the app.

**If your app requires a login**, use any user name and password. The sidecar accepts them (AUTH PLAIN, LOGIN) and
ignores them.

**If your app requires STARTTLS**, turn that off. The sidecar has no certificate, and the connection stays within the
pod. An app that uses STARTTLS only if the server offers it needs no change, because the sidecar does not offer it. An
app in which you cannot turn STARTTLS off, but which can run a sendmail binary, can send with msmtp.

**If your app runs a sendmail binary**, install msmtp (Debian: `msmtp-mta`, which brings `/usr/sbin/sendmail`) with
this `/etc/msmtprc`. For PHP's `mail()`, set `sendmail_path = "msmtp -t"`. msmtp has no queue. Its exit status tells
whether the mail was sent; it is 69 for 451 and for 554.

```
account default
host 127.0.0.1
port 25
from noreply@contoso.com
```

**Postfix in front of the sidecar** (`relayhost = [127.0.0.1]:25`) has a queue of its own. It breaks lines longer than
998 bytes unless you set `smtp_line_length_limit = 0`. Its non-delivery reports have the author `MAILER-DAEMON@…`, so
the sidecar refuses them unless the mailer has `senders.onMismatch: Rewrite`.

## What arrives

The body arrives as the program sent it, byte for byte. The header arrives with
[a few changes](sidecar.md#what-it-changes-in-a-header). The run compares the bytes that the program sent with the bytes
in the mailbox. The sidecar drops `Bcc` and `Resent-Bcc`, also when a program leaves them in the message (Python's
`smtplib.sendmail`, Go's `net/smtp`, Perl). *Encoded*: the program wrote the text as quoted-printable or base64, and it
reads the same. *No*: the program does not send it.

{delivered}

The sidecar accepts a UTF-8 address with or without SMTPUTF8. Some programs refuse to send one, and this version of
Django writes an encoded word into the address: no such mailbox exists.

## What is reported

This table is about a sidecar without a spool, which is the default. With a spool (`o365mailer.dev/spool`), the app gets
250 instead of 451, also when Office 365 is away, and the mail is queued in the sidecar.

A cell shows what your code sees: an exception, an exit status, a status in a log. The text that a person reads (the
exception's text, standard error, the log) contains the reply's code and its text with the remedy, unless the cell says
*code only*, *text only* or *neither*.

{refused}

- The sidecar refuses a recipient at RCPT if its own rules forbid it (`recipients.allowedDomains`). The program then
  decides about the others. Django, Flask-Mail and swaks send to the others and report success.
- Exchange refuses a recipient after the app has sent the message. The sidecar then sends nothing to any recipient, and
  the reply names the address.
- Only Postfix tries again by itself. With every other program, a mail that got 451 is lost unless the app keeps it.
- Code that only checks whether sending failed sees no difference between 451 and 554, except in Ruby and Postfix. The
  code is in the exception (`smtp_code`, `code`, `responseCode`, `getReturnCode()`).
"""
