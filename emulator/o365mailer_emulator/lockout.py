"""The lock of a mailbox whose errors are continuous: Exchange refuses its good mail too, for a while.

learn.microsoft.com "Continuous error throttling for SMTP AUTH submissions in Exchange Online" names five kinds of
errors with the reply to each, and says neither how many errors lock a mailbox nor for how long.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from o365mailer_emulator.tenancy import LockAfter

LOCKS = (
    ("554 5.2.2 ", "throttled-mailbox-full"),
    ("554 5.2.252 ", "throttled-send-as"),
    ("550 5.7.60 ", "throttled-send-as"),
    ("550 5.5.3 ", "throttled-too-many"),
    ("550 5.1.10 ", "throttled-recipients"),
    ("550 5.4.1 ", "throttled-recipients"),
)
"""How an error begins, and the name of the reply that the lock gives. No transcript shows an error of the licence."""


@dataclass(frozen=True)
class Lock:
    """``reply`` is a name in ``GET /replies``; ``until`` is epoch seconds."""

    reply: str
    until: float


class Lockouts:
    """The errors of each mailbox, by its address in lower case, and its lock. ``clock`` gives epoch seconds."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Forgets every error and every lock."""
        self._errors: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._locks: dict[str, Lock] = {}

    def lock(self, mailbox: str) -> Lock | None:
        """The lock that is in force."""
        found = self._locks.get(mailbox.lower())
        return found if found and self._clock() < found.until else None

    def heard(self, mailbox: str, reply: str, rule: LockAfter) -> Lock | None:
        """Counts a reply that the mailbox got. Returns the lock if it locks the mailbox now."""
        kind = next((name for start, name in LOCKS if reply.startswith(start)), None)
        if kind is None or not rule.errors or self.lock(mailbox):
            return None
        now, times = self._clock(), self._errors[mailbox.lower(), kind]
        times.append(now)
        while times[0] < now - rule.within:
            times.popleft()
        if len(times) < rule.errors:
            return None
        times.clear()
        lock = self._locks[mailbox.lower()] = Lock(kind, now + rule.seconds)
        return lock
