"""What `check` and `scan` find out: one fact, and, unless all is well, its cause, its remedy and a link. Pure."""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


class Status(enum.StrEnum):
    """How a finding is. The values are those of `-o json`."""

    OK = "ok"
    WARNING = "warning"
    """It works now, and a person should act before it stops."""
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It could not be looked at: a right is missing, or no answer came."""

    @property
    def mark(self) -> str:
        """One character for a person's eye."""
        return {"ok": "✓", "warning": "!", "failed": "✗", "unknown": "?"}[self.value]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fact. A failed one has a cause, a remedy and a link."""

    name: str
    """Which question it answers, in lower case with dots and hyphens, such as `smtp.tls`. It never changes, so that a
    script can look for it."""
    status: Status
    title: str
    """The fact in one line, such as `smtp.office365.com:587 answers`."""
    subject: str = ""
    """What it is about: `namespace/name` of a mailer, or `deployment/web`. Empty: the cluster or this machine."""
    cause: str = ""
    remedy: str = ""
    """What the user does now; a command where there is one."""
    link: str = ""
    """The page that says more, made from `DOCS` of the contract."""

    def document(self) -> dict[str, Any]:
        """It as JSON: every key is always there."""
        return {
            "name": self.name,
            "status": self.status.value,
            "title": self.title,
            "subject": self.subject,
            "cause": self.cause,
            "remedy": self.remedy,
            "link": self.link,
        }


@dataclass(frozen=True)
class Group:
    """Findings under one headline."""

    title: str
    findings: Sequence[Finding]

    def document(self) -> dict[str, Any]:
        """It as JSON."""
        return {"title": self.title, "findings": [finding.document() for finding in self.findings]}


def exit_status(findings: Iterable[Finding]) -> int:
    """1 if at least one has failed, else 0: warnings and unknowns are no failure."""
    return int(any(finding.status is Status.FAILED for finding in findings))


def worst(findings: Iterable[Finding]) -> Status:
    """The worst status: failed, then warning, then unknown, then ok. OK if there are none."""
    found = {finding.status for finding in findings}
    order = (Status.FAILED, Status.WARNING, Status.UNKNOWN)
    return next((status for status in order if status in found), Status.OK)
