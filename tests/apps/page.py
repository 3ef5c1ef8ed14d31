"""docs/apps.md, from the programs' table and the results of a run."""

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
"""Seconds for which a run leaves a program without its reply: a minute, which several have as their limit, and some."""

Results = dict[str, dict[str, dict[str, Any]]]
"""Program → scenario → what `driver.outcome` kept."""


Waits = dict[str, int | None]
"""Program → seconds until it gave up; None: it still waited after `AT_MOST`."""


def waits() -> Waits:
    """The committed ones."""
    read: Waits = json.loads(WAITS.read_text(encoding="utf-8"))
    return read


def results() -> Results:
    """The committed ones."""
    read: Results = json.loads(RESULTS.read_text(encoding="utf-8"))
    return read


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def delivered(scenario: Scenario, kept: dict[str, Any]) -> str:
    """One cell about a mail that should arrive."""
    if not kept["arrived"]:
        return f"no: `{kept['told']}`" + (f", {kept['code']}" if kept["code"] else "")
    if kept["arrived"] != [list(recipients) for recipients in scenario.arrives]:
        return f"to `{kept['arrived'][0][0]}`"
    return {"as it is": "yes", "encoded": "yes, encoded", "altered": "yes, lines broken"}[kept["form"]]


def reported(kept: dict[str, Any]) -> str:
    """What the program said, and what of the reply a person does not see in it."""
    seen = {(True, True): "", (True, False): ", code only", (False, True): ", text only", (False, False): ", neither"}
    return f"`{kept['told']}`{seen[kept['code'] is not None, kept['reason']]}"


def refused(scenario: Scenario, kept: dict[str, Any]) -> str:
    """One cell about a refusal."""
    if len(scenario.recipients) < 2 or not scenario.arrives:
        return reported(kept)
    return reported(kept) + (": the other gets it" if kept["arrived"] else ": nobody gets it")


def overview(scenarios: tuple[Scenario, ...], cell: Callable[[Scenario, dict[str, Any]], str], found: Results) -> str:
    """A row for each program."""
    heads = ["Program", *(scenario.heading for scenario in scenarios)]
    rows = [[p.title, *(cell(s, found[p.name][s.name]) for s in scenarios)] for p in PROGRAMS]
    return table(heads, rows)


def waited(seconds: int | None) -> str:
    """One cell about a reply that does not come."""
    return f"over {AT_MOST} s" if seconds is None else f"{seconds} s"


def settings(programs: tuple[Program, ...], waits: Waits) -> str:
    """What each needs."""
    heads = ["Program", "Needs", "Leave out: it insists on TLS with", "Waits", "After 451 the mail is"]
    return table(heads, [[p.title, p.plain, p.insists, waited(waits[p.name]), p.again] for p in programs])


def page(found: Results, waits: Waits) -> str:
    """The whole file."""
    return TEMPLATE.format(
        delivered=overview(DELIVERED, delivered, found),
        refused=overview(REFUSED, refused, found),
        settings=settings(PROGRAMS, waits),
        at_most=AT_MOST,
    )


TEMPLATE: Final = """\
# Apps and what they report

Programs that apps send with, run against the sidecar with the [emulator](emulator.md) behind it. `make apps` runs them
and writes this page; `make test` runs them again and compares. They are Debian 12's packages and the versions that
`tests/apps/sources` and `locks/apps.txt` pin.

## Configure the app

Host `127.0.0.1`, port 25 (or 587), no TLS, no login.

{settings}

**Waits** is how long the program, as it comes, waits for the reply to its message. In the run the reply never came,
and after {at_most} s the run ended. The sidecar answers within `delivery.confirmWithin` (8 s), unless the message
is already on its way to Office 365 and only the verdict is missing. Set `confirmWithin` below what your app waits;
otherwise the app may give up first, and does not know what became of the mail. All programs of this table wait
longer than 8 s by default, but each has a setting for it, and frameworks may set it: Keycloak waits 10 s, and
Ruby's `mail` gem, which Rails uses, 5 s. For the latter set `delivery.confirmWithin: 4s`, or `read_timeout: 30` in
the app.

**An app that insists on a login** gets one: any user name and password are taken (AUTH PLAIN, LOGIN) and forgotten.

**An app that insists on STARTTLS** must be told not to: the sidecar has no certificate, and what it would protect is a
connection within the pod. An app that uses STARTTLS "where it is offered" needs no change: it is not offered. One that
cannot be told, but can run a sendmail binary, sends with msmtp.

**An app that runs a sendmail binary** gets msmtp (Debian: `msmtp-mta`, which brings `/usr/sbin/sendmail`) with this
`/etc/msmtprc`. PHP's `mail()`: `sendmail_path = "msmtp -t"`. It has no queue: its exit status says what came of the
mail, and is 69 for 451 and 554 alike.

```
account default
host 127.0.0.1
port 25
from noreply@contoso.com
```

**Postfix before the sidecar** (`relayhost = [127.0.0.1]:25`) brings a queue of its own. It breaks lines longer than 998
octets unless `smtp_line_length_limit = 0`. Its notices of non-delivery name `MAILER-DAEMON@…` as their author and are
refused, unless the mailer has `senders.onMismatch: Rewrite`.

## What arrives

The body that the program sent, byte for byte, and its header with
[a few changes](sidecar.md#what-it-changes-in-a-header): the run compares what was on the wire with what is in the
mailbox. `Bcc` and `Resent-Bcc` are dropped, also where a program leaves them in the message (Python's
`smtplib.sendmail`, Go's `net/smtp`, Perl). *Encoded*: the program wrote the text as quoted-printable or base64, and it
reads the same. *No*: the program does not send it.

{delivered}

A UTF-8 address is taken with SMTPUTF8 or without. Some programs decline it by themselves, and this Django writes an
encoded word where only an address can stand: no such mailbox exists.

## What is reported

Of a sidecar without a spool, which is the default: with one (`o365mailer.dev/spool`), 451 and an outage are a 250, and
the mail waits in the sidecar.

What code sees: an exception, an exit status, a status in a log. What a person reads with it (the exception's text,
standard error, the log) has the reply's code, and its text with what to do, unless the cell says *code only*, *text
only* or *neither*.

{refused}

- A recipient that the sidecar's own rules refuse (`recipients.allowedDomains`) is refused at RCPT, and the program
  decides about the others. Django, Flask-Mail and swaks send to the others and call it a success.
- One that Exchange refuses is refused after the app has sent the message: nothing is sent to anybody, and the reply
  names the address.
- Only Postfix tries again by itself. Elsewhere a mail that got 451 is lost unless the app keeps it.
- Code that only looks whether sending failed sees no difference between 451 and 554, except in Ruby and Postfix: the
  code is in the exception (`smtp_code`, `code`, `responseCode`, `getReturnCode()`).
"""
