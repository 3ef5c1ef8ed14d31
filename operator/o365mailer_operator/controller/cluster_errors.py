"""Failures of a request to the API server, translated once.

    ClusterError
    ├── Absent        there is no such object                            LookupError
    ├── Conflict      the object changed since it was read, or exists
    ├── Forbidden     our ServiceAccount may not do this                 PermissionError
    ├── Refused       the API server will not take the object            ValueError
    └── Unavailable   no answer, or "not now"; time heals it             ConnectionError

Texts name the verb, the kind and the object, and quote the API server's sentence. They never quote what was sent.
"""

from typing import Final

MESSAGE_LIMIT: Final = 300
"""Characters of the API server's sentence: it can quote whole schemas."""


class ClusterError(Exception):
    """A request to the API server failed."""


class Absent(ClusterError, LookupError):
    """404."""


class Conflict(ClusterError):
    """409: read again and decide again."""


class Forbidden(ClusterError, PermissionError):
    """401 or 403."""


class Refused(ClusterError, ValueError):
    """400, 413, 422 and every other 4xx."""


class Unavailable(ClusterError, ConnectionError):
    """No connection, a timeout, 429, 5xx."""


BY_STATUS: Final[dict[int, type[ClusterError]]] = {
    401: Forbidden,
    403: Forbidden,
    404: Absent,
    409: Conflict,
    410: Unavailable,  # an expired watch: list again
    429: Unavailable,
}
"""https://kubernetes.io/docs/reference/using-api/api-concepts/#api-status-codes, read 2026-11-23."""


def error(*, status: int, request: str, message: str) -> ClusterError:
    """The error of an HTTP status of 400 or more; `request` is what was asked, in words."""
    text = f"{request}: {status} {message[:MESSAGE_LIMIT]}"
    kind = BY_STATUS.get(status, Unavailable if status >= 500 else Refused)
    return kind(text)
