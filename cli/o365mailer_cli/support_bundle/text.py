"""What becomes of text: addresses become placeholders, and of free text only known phrases remain. Pure."""

import re
from collections.abc import Iterator
from typing import Final

ADDRESS: Final = re.compile(r"[^\s@<>\"'(),:;=\[\]{}|\\]+(?:@|%40)[^\s@<>\"'(),:;=\[\]{}|\\/?&]+", re.IGNORECASE)
"""An address, also as it is in a URL."""
REMOVED: Final = "[removed]"
GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
PEM: Final = re.compile(r"-----BEGIN [^-]*-----.*?(-----END [^-]*-----|\Z)", re.DOTALL)
DENSE: Final = re.compile(r"[A-Za-z0-9+/=_~.\-%]{16,}")
"""What a secret, a token or base64 looks like: a long run without a space."""
PHRASES: Final = (
    *("failed calling webhook", "denied the request", "connection refused", "no endpoints available", "timed out"),
    *("deadline exceeded", "certificate signed by unknown authority", "certificate has expired", "exceeded quota"),
    *("is forbidden", "not found", "already exists", "object has been modified", "unreachable", "Name or service"),
    *("getaddrinfo", "reset by peer", "TLS", "certificate verify failed", "ImagePullBackOff", "ErrImagePull"),
    *(
        "Insufficient cpu",
        "Insufficient memory",
        "untolerated taint",
        "no nodes available",
        "unbound",
        "Multi-Attach",
        "read-only",
    ),
    *("No space left", "Permission denied", "violates PodSecurity", "must be less than or equal", "LimitRange"),
    *("Timeout (0:01:00)!", "does not answer", "OOMKilled", "postStart", "FailedPostStartHook", "port is taken"),
)
"""Phrases of Kubernetes, of the system and of the product that say what went wrong."""


class Scrubber:
    """Replaces addresses by placeholders: one address has one placeholder in the whole bundle."""

    def __init__(self, *, with_addresses: bool = False) -> None:
        self.with_addresses = with_addresses
        self._known: dict[str, str] = {}

    def address(self, text: str) -> str:
        """A field that is an address, or `@domain`."""
        if self.with_addresses or not text:
            return text
        kind = "domain" if text.startswith("@") or "@" not in text else "address"
        return self._placeholder(text, kind)

    def text(self, text: str) -> str:
        """A text of the product's own, which may quote an address or a value: both are replaced."""
        text = PEM.sub(REMOVED, text)
        text = ADDRESS.sub(lambda match: self._address(match[0]), text)
        return DENSE.sub(lambda match: match[0] if _is_harmless(match[0]) else REMOVED, text)

    def _address(self, found: str) -> str:
        plain = re.sub("%40", "@", found, flags=re.IGNORECASE).rstrip(".")
        return plain if self.with_addresses else self._placeholder(plain, "address")

    def _placeholder(self, text: str, kind: str) -> str:
        key = text.lower()
        if key not in self._known:
            number = 1 + sum(each.startswith(f"<{kind}-") for each in self._known.values())
            self._known[key] = f"<{kind}-{number}>"
        return self._known[key]


def _is_harmless(run: str) -> bool:
    """A GUID, a host, a path of the docs, or words with hyphens: nothing that mixes letters and digits as a secret."""
    if GUID.fullmatch(run.strip(".")):
        return True
    if re.fullmatch(r"[A-Za-z]+([-./_][A-Za-z]+)*[./]?", run):
        return all(len(word) < 24 for word in re.split(r"[-./_]", run)) and not _switches_case(run)
    return bool(re.fullmatch(r"[a-z0-9]+([-.][a-z0-9]+)*\.?", run)) and all(
        len(part) < 20 for part in re.split(r"[-.]", run)
    )


def _switches_case(run: str) -> bool:
    """Whether a run changes between upper and lower case more often than words do."""
    return len(re.findall(r"[a-z][A-Z]", run)) > 3


def phrases(text: str) -> list[str]:
    """The known phrases in a free text, which is itself left out."""
    return list(_phrases(text))


def _phrases(text: str) -> Iterator[str]:
    lowered = text.lower()
    yield from (phrase for phrase in PHRASES if phrase.lower() in lowered)
