"""Scripted failures: rules that a test sets through the control API, each for one step and the next n times.

A rule first waits (``delay``, then ``stall``), then acts. A ``reply`` of 4xx or 5xx replaces the normal action; one of
2xx or 3xx only changes its text. ``close`` ends the connection in order and
``reset`` with a TCP reset, after the reply if there is one, otherwise without any.
"""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Callable

import msgspec

from o365mailer_emulator.aadsts import AADSTS
from o365mailer_emulator.errors import ConfigurationError
from o365mailer_emulator.replies import NAMED
from o365mailer_emulator.tenancy import Document

SMTP_STEPS = frozenset(
    {
        *("connect", "ehlo", "starttls", "tls", "auth", "mail", "rcpt", "data", "bdat", "body"),
        *("rset", "noop", "vrfy", "help", "quit"),
    }
)
ENTRA_STEPS = frozenset({"discovery", "keys", "token"})


class Rule(Document):
    """What happens at one step.

    ``times``: for the next n matching commands, null for ever. ``after``: lets so many matching ones pass first.
    ``match``: only for this address (mail, rcpt), mailbox (body) or client id (token); shell patterns allowed.
    ``delay``: seconds before going on. ``stall``: seconds, or true until ``POST /release``.
    ``reply``: the reply's text; ``named``: one from ``GET /replies``. ``extra``: bytes right after the reply, as
    Latin-1 text. ``record``: at ``body``, the message is kept although the reply refuses it or is lost.
    ``aadsts``: an error code for Entra's steps; ``status``: an HTTP status for them, with ``retryAfter`` seconds.
    """

    step: str
    times: int | None = 1
    after: int = 0
    match: str = "*"
    delay: float = 0
    stall: float | bool = False
    reply: str | None = None
    named: str | None = None
    close: bool = False
    reset: bool = False
    extra: str = ""
    record: bool = False
    aadsts: int | None = None
    status: int | None = None
    retry_after: int | None = None
    hits: int = 0

    @property
    def text(self) -> str | None:
        """The reply this rule gives, if any."""
        return NAMED[self.named].text if self.named else self.reply

    @property
    def decides(self) -> bool:
        """Whether the rule replaces the normal action."""
        text = self.text
        if text is not None:
            return text[:1] in "45"
        return self.close or self.reset or self.aadsts is not None or self.status is not None


class Script:
    """The rules in force, oldest first; the first that matches a step is the one that acts."""

    def __init__(self) -> None:
        self.rules: dict[int, Rule] = {}
        self._number = 0
        self._release = asyncio.Event()

    def add(self, rule: Rule) -> int:
        """Adds a rule and returns its number. Raises ConfigurationError if the rule cannot work."""
        check(rule)
        self._number += 1
        self.rules[self._number] = rule
        return self._number

    def take(self, step: str, subject: str = "") -> Rule | None:
        """The rule that acts on this step now. It is counted as used once."""
        for number, rule in list(self.rules.items()):
            if rule.step != step or not fnmatch.fnmatchcase(subject.lower(), rule.match.lower()):
                continue
            if rule.after > 0:
                rule.after -= 1
                continue
            rule.hits += 1
            if rule.times is not None:
                rule.times -= 1
                if rule.times <= 0:
                    del self.rules[number]
            return rule
        return None

    async def hold(self, rule: Rule, *, stalled: Callable[[], None]) -> None:
        """Waits as long as the rule says; calls ``stalled`` when a stall begins."""
        if rule.delay:
            await asyncio.sleep(rule.delay)
        if rule.stall is False:
            return
        released = self._release
        stalled()
        try:
            async with asyncio.timeout(None if rule.stall is True else rule.stall):
                await released.wait()
        except TimeoutError:
            return

    def release(self) -> None:
        """Ends every stall."""
        self._release.set()
        self._release = asyncio.Event()

    def clear(self) -> None:
        """Removes every rule and ends every stall."""
        self.rules.clear()
        self.release()


def check(rule: Rule) -> None:
    """Raises ConfigurationError if the rule names something that does not exist, or does nothing."""
    if rule.step not in SMTP_STEPS | ENTRA_STEPS:
        known = ", ".join(sorted(SMTP_STEPS | ENTRA_STEPS))
        raise ConfigurationError(f"step: there is no step {rule.step!r}; the steps are {known}")
    if rule.named is not None and rule.named not in NAMED:
        raise ConfigurationError(f"named: there is no reply named {rule.named!r}; GET /replies lists them")
    if rule.reply is not None and not rule.reply[:3].isdigit():
        raise ConfigurationError(f"reply: {rule.reply!r} does not start with a three-digit code; write '451 4.7.0 …'")
    if rule.aadsts is not None and rule.aadsts not in AADSTS:
        raise ConfigurationError(f"aadsts: {rule.aadsts} is not in the emulator's table; GET /replies lists it")
    if rule.times is not None and rule.times < 1:
        raise ConfigurationError(f"times: {rule.times} would never act; use 1 or more, or null for ever")
    acts = rule.decides or rule.text or rule.delay or rule.stall is not False or rule.extra
    if not acts:
        raise ConfigurationError("the rule does nothing; give it a reply, named, close, reset, delay, stall or extra")


def shown(rules: dict[int, Rule]) -> list[dict[str, object]]:
    """The rules as JSON, each with its number and only the members that were set."""
    listed = []
    for number, rule in rules.items():
        members = msgspec.to_builtins(rule)
        defaults = msgspec.to_builtins(Rule(step=rule.step))
        kept = {key: value for key, value in members.items() if key in {"step", "times"} or value != defaults[key]}
        listed.append({"id": number, **kept})
    return listed
