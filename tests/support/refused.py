"""A failure of the token modules, by its reason."""

import pytest

from o365mailer_operator.token.errors import TokenError


def refused(reason: str, *, match: str | None = None) -> pytest.RaisesExc[TokenError]:
    """Expects a TokenError of this reason, whose text matches."""
    return pytest.raises(TokenError, match=match, check=lambda error: error.reason == reason)
