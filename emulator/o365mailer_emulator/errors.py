"""The emulator's errors; the tree is drawn in the package's docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from o365mailer_emulator.aadsts import Aadsts


class EmulatorError(Exception):
    """The base of the emulator's errors."""


class ConfigurationError(EmulatorError, ValueError):
    """A flag, a configuration file or a control request is wrong; the text says where and how to fix it."""


class EntraRefusal(EmulatorError):
    """The token endpoint refuses; ``values`` fill the placeholders of the AADSTS message."""

    def __init__(self, aadsts: Aadsts, **values: str) -> None:
        super().__init__(f"AADSTS{aadsts.code}")
        self.aadsts = aadsts
        self.values = values


class TokenRefused(EmulatorError):
    """Exchange refuses this bearer token for this mailbox.

    Exchange mostly tells a client only 535 5.7.3; ``reason`` is for the emulator's events. ``reply`` is what it says
    instead, if anything. Expired tokens are counted separately, because a relay that offers an expired token has a
    defect.
    """

    def __init__(self, reason: str, *, expired: bool = False, reply: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expired = expired
        self.reply = reply


class LineTooLong(EmulatorError):
    """A line or the data is over its limit."""


class ConnectionEnded(EmulatorError, ConnectionError):
    """The client is gone, or a script closed or reset its connection."""
