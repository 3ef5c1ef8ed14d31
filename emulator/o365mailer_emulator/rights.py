"""Rights that spread slowly: Exchange keeps what an application may do in caches, for 30 minutes to two hours.

Source: learn.microsoft.com, "Role Based Access Control for Applications in Exchange Online" (Limitations).
"""

from __future__ import annotations

from collections.abc import Callable

from o365mailer_emulator.tenancy import Tenancy


class Rights:
    """The configuration whose rights are in force, and the later ones that are spreading. ``clock`` gives seconds."""

    def __init__(self, tenancy: Tenancy, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._spreading: list[tuple[float, Tenancy]] = []
        self._in_force = tenancy

    def change(self, tenancy: Tenancy) -> None:
        """Takes a configuration whose rights take effect after its setting ``effective_after``."""
        self._spreading.append((self._clock() + tenancy.settings.effective_after, tenancy))

    def reset(self, tenancy: Tenancy) -> None:
        """Puts a configuration in force at once."""
        self._spreading.clear()
        self._in_force = tenancy

    @property
    def in_force(self) -> Tenancy:
        """The latest configuration whose time has come."""
        now = self._clock()
        for number, (effective, tenancy) in reversed(list(enumerate(self._spreading))):
            if effective <= now:
                self._in_force = tenancy
                del self._spreading[: number + 1]
                break
        return self._in_force
