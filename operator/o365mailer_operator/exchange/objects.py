"""What the objects of a mailer are called in Entra and Exchange: by `setup`, which makes them, and in every remedy."""

import hashlib
from typing import Final

PERMISSION: Final = "SMTP.SendAsApp"
"""The application permission in Entra, for the older way."""
ROLE: Final = "Application SMTP.SendAsApp"
"""The role in Exchange Online, which needs no permission in Entra."""
LONGEST_NAME: Final = 64
"""Characters of the name of a management scope and of a role assignment (reference pages of the New- cmdlets)."""


def object_name(name: str, namespace: str) -> str:
    """`o365mailer-namespace-name`, shortened to what Exchange allows, and different for different mailers."""
    whole = "-".join(part for part in ("o365mailer", namespace, name) if part)
    if len(whole) <= LONGEST_NAME:
        return whole
    digest = hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()[:8]
    return f"{whole[: LONGEST_NAME - 9].rstrip('-')}-{digest}"
