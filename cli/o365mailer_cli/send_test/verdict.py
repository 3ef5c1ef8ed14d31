"""What became of the test mail, in the words of the relay and of the table of Exchange's replies. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from o365mailer_contract.names import DOCS, EVENT_MESSAGE
from o365mailer_contract.replies import REASONS, Outcome, rule_for

SAID: Final = re.compile(
    r"\b(?:said|token for \S+:) (?P<code>[2-5]\d\d) (?:(?P<enhanced>\d\.\d{1,3}\.\d{1,3}) )?(?P<text>.*)", re.DOTALL
)
"""What Exchange said, in a reply of the relay (`451 … Office 365 said 430 …`)."""
FOR_A_PERSON: Final = frozenset({Outcome.UNAUTHORIZED.value, Outcome.LOCKED.value, Outcome.QUOTA.value})
"""Outcomes of which another attempt within a minute makes nothing better."""
ENHANCED: Final = re.compile(r"(?P<enhanced>\d\.\d{1,3}\.\d{1,3}) (?P<text>.*)", re.DOTALL)
RELAY_PAGE: Final = f"{DOCS}/sidecar.md#replies-of-the-relay-and-what-to-do"
LOGIN_PAGE: Final = f"{DOCS}/troubleshooting.md#the-login-at-exchange"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of the mail."""

    outcome: str
    """accepted, refused, deferred, … (the relay's outcomes and Exchange's), or `not-sent`: it did not come so far."""
    reason: str = ""
    """One word of the relay, of Exchange's replies, or of the cluster."""
    code: int = 0
    """Of the reply that the app got; 0 if there was none."""
    enhanced: str = ""
    text: str = ""
    remedy: str = ""
    link: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    """The relay's audit record; empty if it could not be read."""

    @property
    def accepted(self) -> bool:
        """Whether Exchange has the mail."""
        return self.outcome == Outcome.ACCEPTED.value

    def document(self) -> dict[str, Any]:
        """It as JSON; `null` for what is unknown."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "code": self.code or None,
            "enhanced": self.enhanced or None,
            "text": self.text,
            "remedy": self.remedy,
            "link": self.link,
            "queueId": self.record.get("queue_id"),
            "exchangeId": self.record.get("exchange_id") or None,
            "exchangeHost": self.record.get("exchange_host") or None,
            "seconds": self.record.get("seconds"),
        }


def attempts_in(log: str) -> list[Mapping[str, Any]]:
    """The attempts that the program in the pod has written so far."""
    return [line for line in _objects(log) if "code" in line and "last" in line]


def record_in(log: str) -> Mapping[str, Any]:
    """The relay's last audit record in its log; empty if there is none."""
    return next((line for line in reversed(list(_objects(log))) if line.get("event") == EVENT_MESSAGE), {})


def verdict_of(attempt: Mapping[str, Any], record: Mapping[str, Any]) -> Verdict:
    """The verdict that the last attempt's reply is."""
    code, reply = int(attempt["code"]), str(attempt["text"])
    if not code:
        return Verdict(
            outcome="not-sent",
            reason="relay-away",
            text=reply,
            remedy="The relay in the pod does not listen. Look at its log, and at the Events of the pod.",
            link=RELAY_PAGE,
            record=record,
        )
    found = ENHANCED.match(reply)
    enhanced, text = (found["enhanced"], found["text"]) if found else ("", reply)
    if 200 <= code < 300:
        return Verdict(outcome="accepted", reason="accepted", code=code, enhanced=enhanced, text=text, record=record)
    said = SAID.search(text)
    if said is None and record.get("reason") not in REASONS:  # the relay decided, or Exchange was not reached
        outcome = str(record.get("outcome") or ("refused" if code >= 500 else "deferred"))
        reason = str(record.get("reason") or "relay")
        remedy = "The relay's page says for each of its replies what to do."
        return Verdict(
            **_shown(code, enhanced, text),
            outcome=outcome,
            reason=reason,
            remedy=remedy,
            link=RELAY_PAGE,
            record=record,
        )
    rule = rule_for(int(said["code"]), said["enhanced"] or "", said["text"]) if said else rule_for(code, enhanced, text)
    return Verdict(
        **_shown(code, enhanced, text),
        outcome=rule.outcome.value,
        reason=rule.reason,
        remedy=f"{rule.remedy[:1].upper()}{rule.remedy[1:]}." if rule.remedy else "",
        link=LOGIN_PAGE if rule.outcome is Outcome.UNAUTHORIZED else RELAY_PAGE,
        record=record,
    )


def _shown(code: int, enhanced: str, text: str) -> dict[str, Any]:
    return {"code": code, "enhanced": enhanced, "text": text}


def _objects(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found
