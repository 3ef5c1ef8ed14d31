"""What the token endpoint grants a token for (RFC 6749 §4). One module a grant; ``GRANTS`` has them by `grant_type`."""

from __future__ import annotations

from o365mailer_emulator.grants import client_credentials

GRANTS = {client_credentials.GRANT_TYPE: client_credentials.grant}
