"""What every kind of credential has: the objects that it needs, a fingerprint of its content, a way to get a token.

Each kind is a module: `clientsecret`, `certificate`, `federated`. `grant.py` chooses one by the spec.
"""

import codecs
import datetime
import hashlib
import hmac
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

from o365mailer_contract import names
from o365mailer_operator.token.answer import Presented
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.errors import SECRET_KEY_EMPTY, SECRET_KEY_MISSING, SECRET_NOT_FOUND, CredentialError

KEYS_COMPARED: Final = 1000
"""Keys of a Secret without the requested one: it may have 60,000 others, and they are compared on the event loop."""
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Need(NamedTuple):
    """An object in the mailer's namespace that a spec names, and the key in it that is read."""

    kind: Literal["Secret", "ConfigMap", "ServiceAccount"]
    name: str
    key: str = ""


@dataclass(frozen=True)
class ServiceAccount:
    """A ServiceAccount of the mailer's namespace, as far as a token depends on it."""

    namespace: str
    name: str
    uid: str
    client_id: str
    """The application that it has opted in for; empty without one."""

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "ServiceAccount":
        """The ServiceAccount that the API server has."""
        metadata = manifest["metadata"]
        client_id = (metadata.get("annotations") or {}).get(names.WORKLOAD_IDENTITY_ANNOTATION, "")
        return cls(metadata["namespace"], metadata["name"], uid=metadata["uid"], client_id=client_id)


class Source(Protocol):
    """Where the objects of the mailer's namespace are read."""

    def secret(self, name: str) -> Mapping[str, bytes] | None:
        """A Secret's keys, decoded from base64; None if there is no such Secret. Raises CredentialError."""

    def config_map(self, name: str) -> Mapping[str, bytes] | None:
        """The keys of `data` and `binaryData`; None if there is no such ConfigMap. Raises ConfigMapError."""

    def service_account(self, name: str) -> ServiceAccount | None:
        """None if there is no such ServiceAccount. Raises ServiceAccountError."""


@dataclass(frozen=True)
class Proof:
    """One thing that proves to Entra that a request comes from the application."""

    ref: str
    """What it was read from, such as `the Secret noreply/secret`."""
    presented: Presented
    msal: str | dict[str, Any] = field(repr=False)
    """As msal.ConfidentialClientApplication takes it (`client_credential`)."""


class Attempt(Protocol):
    """What a credential gets a token with."""

    @property
    def now(self) -> datetime.datetime:
        """The present."""

    async def ask(self, proof: Proof) -> Token:
        """One request to Entra. Raises TokenError."""

    async def service_account_token(self, account: ServiceAccount, audience: str) -> str:
        """A new token of a ServiceAccount from the API server. Raises ServiceAccountError."""


class Credential(Protocol):
    """How the controller proves to Entra that it is the application. Immutable, and equal to one of equal content."""

    def __str__(self) -> str:
        """Its kind and place, such as `the certificate noreply`."""

    def content(self) -> Sequence[bytes]:
        """What decides about a token. Names and order of the objects that it was read from do not count."""

    async def acquire(self, attempt: Attempt) -> Token:
        """A new token. Raises TokenError."""


def fingerprint(credential: Credential, *, salt: bytes) -> str:
    """Identifies a credential's content without revealing it. It is kept with the token that was obtained with it.

    HMAC-SHA256 under a random salt (16 bytes): equal contents have different fingerprints, and a fingerprint only tells
    whether a known content is the same. It is still kept in a Secret, because a short password that a user put in by
    mistake could be guessed from it.
    """
    parts = b"".join(_with_length(credential.content()))
    return f"{salt.hex()}.{hmac.new(salt, parts, hashlib.sha256).hexdigest()}"


def has_fingerprint(credential: Credential, text: str) -> bool:
    """Whether `text` is a fingerprint of this content."""
    try:
        salt = bytes.fromhex(text.partition(".")[0])
    except ValueError:
        return False
    return hmac.compare_digest(fingerprint(credential, salt=salt).encode(), text.encode())


def _with_length(parts: Sequence[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield len(part).to_bytes(8)
        yield part


def read_file(need: Need, source: Source) -> bytes:
    """The content of the key in UTF-8, without white space and byte order mark around it; as it is if it is no text.

    PowerShell and Azure DevOps write a byte order mark, and Windows PowerShell writes UTF-16. Editors and `echo` leave
    a line break at the end.

    Raises CredentialError.
    """
    _, name, key = need
    content = source.secret(name)
    if content is None:
        raise CredentialError(
            SECRET_NOT_FOUND, f"There is no Secret {name}. Create it, with the key {key}.", secret=name, key=key
        )
    if key not in content:
        raise CredentialError(
            SECRET_KEY_MISSING,
            f"The Secret {name} has no key {key}; it has {_instead(key, content)}. Add the key, or name another one in "
            "the spec.",
            secret=name,
            key=key,
        )
    value = stripped(content[key])
    if not value:
        raise CredentialError(
            SECRET_KEY_EMPTY, f"The key {key} of the Secret {name} is empty. Put the value in.", secret=name, key=key
        )
    return value


def stripped(content: bytes) -> bytes:
    """A text in UTF-8 without white space and byte order mark around it; as it is if it is no text."""
    try:
        text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8")
    except UnicodeDecodeError:
        return content
    return text.strip().strip("\ufeff").strip().encode(errors="surrogatepass")


def _instead(key: str, content: Mapping[str, bytes]) -> str:
    """The keys that differ from `key` in case and separators alone, or else the number of keys.

    Other keys are not named: a user who may view a mailer may not be allowed to view the Secrets of its namespace.
    """
    meant = _squeezed(key)
    near = [f"a key {each}" for each in itertools.islice(content, KEYS_COMPARED) if _squeezed(each) == meant]
    if near:
        return " and ".join(near[:3])
    return other_keys(content)


def other_keys(content: Mapping[str, bytes]) -> str:
    """How many keys there are, in words, where the one that was asked for is missing."""
    return "no key at all" if not content else "one other key" if len(content) == 1 else f"{len(content)} other keys"


def _squeezed(key: str) -> str:
    return re.sub(r"[-_.]", "", key).lower()
