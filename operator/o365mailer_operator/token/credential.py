"""What a spec's credential is made of: which Secrets it needs, and their content once they are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from o365mailer_operator.token.certificate import Certificate, read_certificate
from o365mailer_operator.token.errors import (
    CredentialError,
    SecretKeyEmpty,
    SecretKeyMissing,
    SecretKeyNotText,
    SecretNotFound,
)
from o365mailer_operator.token.spec import AuthoritiesRef, SecretKeyRef, Spec

ReadSecret = Callable[[str], Mapping[str, bytes] | None]
"""A Secret's keys by its name, decoded from base64; None where there is no such Secret."""

TLS_CERTIFICATE: Final = "tls.crt"
TLS_KEY: Final = "tls.key"
"""The keys of a Secret of type kubernetes.io/tls."""


@dataclass(frozen=True)
class ClientSecret:
    """One client secret, and where it came from (`name/key`)."""

    ref: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class Refusal:
    """A reference that was not good, by us or by Entra: `reason` is from the closed vocabulary."""

    ref: str
    reason: str
    message: str


@dataclass(frozen=True)
class ClientSecrets:
    """What could be read, in the spec's order (never empty), and what could not."""

    secrets: tuple[ClientSecret, ...]
    unreadable: tuple[Refusal, ...] = ()


Credential = ClientSecrets | Certificate


def secrets_needed(spec: Spec) -> Mapping[str, frozenset[str]]:
    """The names of the Secrets that a spec refers to, and the keys of each: what to get, and nothing else."""
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


def read_credential(spec: Spec, read: ReadSecret) -> Credential:
    """The credential of a spec. Of two client secrets, one that can be read is enough.

    Raises CredentialError: the first reference's, where none can be used.
    """
    if spec.credential.certificate:
        name = spec.credential.certificate.secret_ref.name
        return read_certificate(
            secret=name,
            certificate=read_key(name, TLS_CERTIFICATE, read).encode(),
            key=read_key(name, TLS_KEY, read).encode(),
        )
    refs = spec.credential.client_secret.secret_refs if spec.credential.client_secret else ()
    secrets: list[ClientSecret] = []
    errors: list[tuple[str, CredentialError]] = []
    for ref in refs:
        try:
            secrets.append(ClientSecret(str(ref), read_key(ref.name, ref.key, read)))
        except CredentialError as error:
            errors.append((str(ref), error))
    if not secrets:
        raise errors[0][1]
    return ClientSecrets(tuple(secrets), tuple(Refusal(ref, error.reason, str(error)) for ref, error in errors))


def read_key(name: str, key: str, read: ReadSecret) -> str:
    """One key's text, without the white space around it (editors and `echo` leave a newline behind).

    Raises SecretNotFound, SecretKeyMissing, SecretKeyEmpty, SecretKeyNotText.
    """
    content = read(name)
    if content is None:
        raise SecretNotFound(f"There is no Secret {name}. Create it, with the key {key}.", secret=name, key=key)
    if key not in content:
        found = ", ".join(sorted(content)) or "none"
        raise SecretKeyMissing(
            f"The Secret {name} has no key {key} (it has: {found}). Add the key, or name another one in the spec.",
            secret=name,
            key=key,
        )
    text = _text(content[key])
    if text is None:
        raise SecretKeyNotText(
            f"The key {key} of the Secret {name} is not a text. Put in the value as it was shown, without encoding it.",
            secret=name,
            key=key,
        )
    if not text:
        raise SecretKeyEmpty(f"The key {key} of the Secret {name} is empty. Put the value in.", secret=name, key=key)
    return text


def _text(octets: bytes) -> str | None:
    try:
        text = octets.decode().strip()
    except UnicodeDecodeError:  # it carries the octets: not to be chained
        return None
    return text if text.isprintable() or "-----BEGIN " in text else None
