"""A client secret. All secrets of an application are valid at once, each until it expires."""

from __future__ import annotations

from o365mailer_emulator.aadsts import AADSTS
from o365mailer_emulator.errors import EntraRefusal
from o365mailer_emulator.tenancy import Application


def check(offered: str, application: Application, *, now: float) -> None:
    """Raises EntraRefusal if ``offered`` is no secret of the application (7000215) or an expired one (7000222)."""
    matching = [secret for secret in application.secrets if secret.value == offered]
    if not matching:
        raise EntraRefusal(AADSTS[7000215], client=application.client_id)
    if all(secret.expires_at is not None and secret.expires_at.timestamp() <= now for secret in matching):
        raise EntraRefusal(AADSTS[7000222], client=application.client_id)
