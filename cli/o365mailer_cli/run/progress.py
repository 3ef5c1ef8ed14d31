"""What the user sees: a few lines, and on a terminal a status line. It never shows a secret or a mail's content."""

import contextlib
import datetime
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from o365mailer_contract.names import OUTCOME_DEAD
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.errors import TokenError

CLEAR_LINE: Final = "\r\x1b[K"


@dataclass
class Tally:
    """The figures of the status line."""

    valid_until: datetime.datetime | None = None
    refreshed: int = 0
    relayed: int = 0
    refused: int = 0
    spooled: int = 0
    waiting: str = ""

    def __str__(self) -> str:
        spooled = [f"{mails(self.spooled)} waiting"] if self.spooled else []
        if self.valid_until is None:
            return ", ".join([self.waiting or "asking Entra for a token", *spooled])
        parts = [
            f"token valid until {moment(self.valid_until)}",
            f"refreshed {times(self.refreshed)}",
            f"{mails(self.relayed)} relayed",
        ]
        if self.refused:
            parts.append(f"{self.refused} not")
        if self.waiting:
            parts.append(self.waiting)
        return ", ".join([*parts, *spooled])


class Progress:
    """Writes to `out`. `now` tells whether a token is still valid."""

    def __init__(self, out: TextIO, *, now: Callable[[], datetime.datetime]) -> None:
        self.out = out
        self.now = now
        self.terminal = out.isatty()
        self.tally = Tally()
        self.told: tuple[str, str] | None = None
        self.place: Path | None = None

    def line(self, text: str) -> None:
        """Write a line that stays."""
        self._write(f"{CLEAR_LINE if self.terminal else ''}{text}\n")
        self.status()

    def status(self) -> None:
        """Update the status line, on a terminal."""
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"{CLEAR_LINE}{str(self.tally)[:width]}")

    def listening(self, protocol: str, address: str) -> None:
        """The relay listens on an address."""
        if protocol == "smtp":
            self.line(f"listening on {address}: send mail there, without TLS and without a login")
        else:
            self.line(f"health and metrics on http://{address}/metrics")

    def spool(self, place: Path, *, waiting: int) -> None:
        """There is a spool, with `waiting` messages from before."""
        self.place, self.tally.spooled = place, waiting
        self.line(f"mail that Office 365 does not take yet waits in {place}")
        if waiting:
            verb, what = ("is", "it") if waiting == 1 else ("are", "them")
            self.line(f"{mails(waiting)} from before {verb} there: sent as soon as Office 365 takes {what}")

    def waits(self, count: int) -> None:
        """There are `count` messages in the spool now."""
        if count != self.tally.spooled:
            self.tally.spooled = count
            self.status()

    def token(self, token: Token) -> None:
        """A token is in the mailer directory."""
        first = self.tally.valid_until is None
        self.tally.refreshed += not first
        self.tally.valid_until, self.tally.waiting, self.told = token.expires_at, "", None
        for warning in token.warnings:
            self.line(f"warning: {warning}")
        if first or not self.terminal:
            verb = "obtained" if first else "refreshed"
            self.line(f"token {verb} with {token.credential_ref}, valid until {moment(token.expires_at)}")
        else:
            self.status()

    def failed(self, error: TokenError, *, wait: float) -> None:
        """There is no token. Each fault is reported once."""
        told = (error.reason, str(error).split(" [correlation id ")[0])
        lost = self.tally.valid_until is None or self.tally.valid_until <= self.now()
        if told != self.told:
            self.told = told
            self.line(f"no token ({error.reason}): {error}")
            if lost:
                self.line(
                    "mail waits in the spool until there is one"
                    if self.place
                    else "the relay answers 451 until there is one; apps that retry lose nothing"
                )
        self.tally.waiting = f"{error.reason}, trying again in {_span(wait)}"
        self.status()

    def message(self, outcome: str, *, queue_id: str = "") -> None:
        """The relay has settled a message."""
        if outcome == OUTCOME_DEAD:
            self.line(f"{queue_id} failed for good: it is kept as a dead letter in {self.place}")
        if outcome == "accepted":
            self.tally.relayed += 1
        else:
            self.tally.refused += 1
        self.status()

    def relay_event(self, event: Mapping[str, Any]) -> None:
        """A warning or an error of the relay."""
        told = ", ".join(f"{key} {value}" for key, value in event.items() if key not in {"time", "level", "event"})
        name = str(event.get("event", "message")).replace("_", " ")
        self.line(f"relay: {name}{': ' if told else ''}{told}")

    def stopping(self) -> None:
        """The run is stopping."""
        more = ", and what waits is tried once more" if self.place else ""
        self.line(f"stopping: what is in flight is finished first{more} (again to stop at once)")

    def stopped(self) -> None:
        """Write the last line."""
        left = f", {self.tally.spooled} waiting in {self.place} for the next run" if self.tally.spooled else ""
        self._write(f"{CLEAR_LINE if self.terminal else ''}stopped: {mails(self.tally.relayed)} relayed{left}\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a full disk, or a reader that has gone (`| head`): keep relaying mail
            self.out.write(text)
            self.out.flush()


def moment(instant: datetime.datetime) -> str:
    """The time to the second, with the machine's time zone."""
    return f"{instant.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def times(count: int) -> str:
    """`once`, `3 times`."""
    return "once" if count == 1 else f"{count} times"


def mails(count: int) -> str:
    """`1 mail`, `3 mails`."""
    return f"{count} mail{'' if count == 1 else 's'}"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
