"""A spec's credential: the Secrets that it needs, and their content."""

import base64
import binascii
import codecs
import hashlib
import hmac
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from o365mailer_operator.token.certificate import Certificate, read_certificate
from o365mailer_operator.token.errors import (
    SECRET_KEY_EMPTY,
    SECRET_KEY_MISSING,
    SECRET_KEY_NOT_TEXT,
    SECRET_NOT_FOUND,
    CredentialError,
)
from o365mailer_operator.token.spec import AuthoritiesRef, SecretKeyRef, Spec

ReadSecret = Callable[[str], Mapping[str, bytes] | None]
"""Gives a Secret's keys, decoded from base64, by its name; None if there is no such Secret."""

TLS_CERTIFICATE: Final = "tls.crt"
TLS_KEY: Final = "tls.key"
"""The keys of a Secret of type kubernetes.io/tls."""
LONGEST_SECRET: Final = 4096
"""Bytes. Entra's have 40."""
KEYS_COMPARED: Final = 1000
"""Keys of a Secret without the requested one: it may have 60,000 others, and they are compared on the event loop."""
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class ClientSecret:
    """One client secret, and its place (`name/key`)."""

    ref: str
    value: str = field(repr=False)

    @property
    def doubt(self) -> str:
        """Why the value looks wrong, for the message of Entra's refusal; empty for a plausible one."""
        if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", self.value):
            return " (it is a GUID, as the ID of a secret is; the Value is no GUID)"
        try:
            inner = base64.b64decode(self.value, validate=True).decode("ascii").strip()
        except (binascii.Error, ValueError):
            return ""
        if not (inner and inner.isprintable()):
            return ""
        return " (it is base64 of another text: it was probably encoded twice, so decode it once)"


@dataclass(frozen=True)
class Refusal:
    """A reference that we or Entra refused; `reason` is from the closed vocabulary."""

    ref: str
    reason: str
    message: str


@dataclass(frozen=True)
class ClientSecrets:
    """The secrets that could be read, in the spec's order (never empty), and the others."""

    secrets: tuple[ClientSecret, ...]
    unreadable: tuple[Refusal, ...] = ()


Credential = ClientSecrets | Certificate


def secrets_needed(spec: Spec) -> Mapping[str, frozenset[str]]:
    """The names of the Secrets that a spec refers to, and the keys of each."""
    needed: dict[str, set[str]] = {}
    refs: list[SecretKeyRef | AuthoritiesRef] = []
    if spec.credential.client_secret:
        refs.extend(spec.credential.client_secret.secret_refs)
    if spec.credential.certificate:
        needed.setdefault(spec.credential.certificate.secret_ref.name, set()).update((TLS_CERTIFICATE, TLS_KEY))
    refs.extend(ref for ref in (spec.authority.ca_secret_ref, spec.submission.ca_secret_ref) if ref)
    for ref in refs:
        needed.setdefault(ref.name, set()).add(ref.key)
    return {name: frozenset(keys) for name, keys in needed.items()}


def fingerprint(credential: Credential, *, salt: bytes) -> str:
    """Identifies a credential's content without revealing it. It is kept with the token that was obtained with it.

    HMAC-SHA256 under a random salt (16 bytes): equal contents have different fingerprints, and a fingerprint only tells
    whether a known content is the same. It is still kept in a Secret, because a short password that a user put in by
    mistake could be guessed from it.
    """
    return f"{salt.hex()}.{hmac.new(salt, b''.join(_parts(credential)), hashlib.sha256).hexdigest()}"


def has_fingerprint(credential: Credential, text: str) -> bool:
    """Whether `text` is a fingerprint of this content."""
    try:
        salt = bytes.fromhex(text.partition(".")[0])
    except ValueError:
        return False
    return hmac.compare_digest(fingerprint(credential, salt=salt).encode(), text.encode())


def _parts(credential: Credential) -> Iterator[bytes]:
    """The texts that decide about a token, each after its length. Names and order of the Secrets do not count."""
    if isinstance(credential, Certificate):
        texts = [credential.certificate, credential.key]
    else:
        texts = sorted(secret.value for secret in credential.secrets)
    for text in texts:
        yield len(text.encode()).to_bytes(8)
        yield text.encode()


def read_credential(spec: Spec, read: ReadSecret) -> Credential:
    """The credential of a spec. Of two client secrets, one that can be read is enough.

    Raises CredentialError: the first reference's, if none can be read.
    """
    if spec.credential.certificate:
        name = spec.credential.certificate.secret_ref.name
        return read_certificate(
            secret=name,
            certificate=read_file(name, TLS_CERTIFICATE, read),
            key=read_file(name, TLS_KEY, read),
        )
    refs = spec.credential.client_secret.secret_refs if spec.credential.client_secret else ()
    secrets: list[ClientSecret] = []
    errors: list[tuple[str, CredentialError]] = []
    for ref in refs:
        try:
            secrets.append(ClientSecret(str(ref), read_client_secret(ref, read)))
        except CredentialError as error:
            errors.append((str(ref), error))
    if not secrets:
        raise errors[0][1]
    return ClientSecrets(tuple(secrets), tuple(Refusal(ref, error.reason, str(error)) for ref, error in errors))


def read_client_secret(ref: SecretKeyRef, read: ReadSecret) -> str:
    """The value of a client secret, without the white space and marks that editors and PowerShell add.

    Raises CredentialError.
    """
    content = read_file(ref.name, ref.key, read)
    problem = f"has {len(content)} bytes, and no client secret is longer than {LONGEST_SECRET}"
    if len(content) <= LONGEST_SECRET:
        try:
            value = content.decode()
        except UnicodeDecodeError:  # the error holds the bytes: do not chain it
            problem = "is not a text"
        else:
            if value.isprintable():
                return value
            problem = "has line breaks, control or invisible characters in it"
    raise CredentialError(
        SECRET_KEY_NOT_TEXT,
        f"The key {ref.key} of the Secret {ref.name} {problem}. Put in the client secret's Value as Entra shows it: "
        f"kubectl create secret generic {ref.name} --from-literal={ref.key}=VALUE encodes it by itself.",
        secret=ref.name,
        key=ref.key,
    )


def read_file(name: str, key: str, read: ReadSecret) -> bytes:
    """One key's content in UTF-8, without white space and byte order mark around it; as it is if it is no text.

    PowerShell and Azure DevOps write a byte order mark, and Windows PowerShell writes UTF-16. Editors and `echo` leave
    a line break at the end.

    Raises CredentialError.
    """
    content = read(name)
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
    stripped = _stripped(content[key])
    if not stripped:
        raise CredentialError(
            SECRET_KEY_EMPTY, f"The key {key} of the Secret {name} is empty. Put the value in.", secret=name, key=key
        )
    return stripped


def _stripped(content: bytes) -> bytes:
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
    return "no key at all" if not content else "one other key" if len(content) == 1 else f"{len(content)} other keys"


def _squeezed(key: str) -> str:
    return re.sub(r"[-_.]", "", key).lower()
