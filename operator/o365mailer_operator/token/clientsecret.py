"""A client secret: a password of the application, of which Entra keeps two or more while it is being rotated."""

import base64
import binascii
import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from o365mailer_operator.token.answer import Presented
from o365mailer_operator.token.bearer import Refusal, Token
from o365mailer_operator.token.credential import Attempt, Need, Proof, Source, read_file
from o365mailer_operator.token.errors import SECRET_KEY_NOT_TEXT, CredentialError, EntraRefused
from o365mailer_operator.token.spec import ClientSecretCredential, SecretKeyRef, Spec

LONGEST_SECRET: Final = 4096
"""Bytes. Entra's have 40."""


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

    @property
    def proof(self) -> Proof:
        """What is sent."""
        return Proof(f"the Secret {self.ref}", Presented(f"the secret {self.ref}{self.doubt}"), self.value)


@dataclass(frozen=True)
class ClientSecrets:
    """The secrets that could be read, in the spec's order (never empty), and the others."""

    secrets: tuple[ClientSecret, ...]
    unreadable: tuple[Refusal, ...] = ()

    def __str__(self) -> str:
        return " and ".join(f"the secret {secret.ref}" for secret in self.secrets)

    def content(self) -> Sequence[bytes]:
        """The values, whatever their order in the spec."""
        return sorted(secret.value.encode() for secret in self.secrets)

    async def acquire(self, attempt: Attempt) -> Token:
        """A token for the first secret that Entra accepts. Raises TokenError."""
        refused: list[EntraRefused] = []
        refusals = list(self.unreadable)
        for secret in self.secrets:
            try:
                token = await attempt.ask(secret.proof)
            except EntraRefused as error:
                if not error.about_credential:
                    raise
                refused.append(error)
                refusals.append(Refusal(secret.ref, error.reason, str(error)))
            else:
                warnings = (*(refusal.message for refusal in refusals), *token.warnings)
                return dataclasses.replace(token, refusals=tuple(refusals), warnings=warnings)
        raise _none_taken(refused, refusals)


def needs(part: ClientSecretCredential) -> frozenset[Need]:
    """The keys of Secrets that a spec names."""
    return frozenset(_need(ref) for ref in part.secret_refs)


def read(part: ClientSecretCredential, source: Source, _spec: Spec) -> ClientSecrets:
    """Of two client secrets, one that can be read is enough.

    Raises CredentialError: the first reference's, if none can be read.
    """
    secrets: list[ClientSecret] = []
    errors: list[tuple[str, CredentialError]] = []
    for ref in part.secret_refs:
        try:
            secrets.append(ClientSecret(str(ref), read_client_secret(ref, source)))
        except CredentialError as error:
            errors.append((str(ref), error))
    if not secrets:
        raise errors[0][1]
    return ClientSecrets(tuple(secrets), tuple(Refusal(ref, error.reason, str(error)) for ref, error in errors))


def read_client_secret(ref: SecretKeyRef, source: Source) -> str:
    """The value of a client secret, without the white space and marks that editors and PowerShell add.

    Raises CredentialError.
    """
    content = read_file(_need(ref), source)
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


def _need(ref: SecretKeyRef) -> Need:
    return Need("Secret", ref.name, ref.key)


def _none_taken(refused: list[EntraRefused], refusals: list[Refusal]) -> EntraRefused:
    """The first verdict, and after it what became of the other reference."""
    first = refused[0]
    others = " ".join(refusal.message for refusal in refusals if refusal.message != str(first))
    if not others:
        return first
    return EntraRefused(f"{first} And: {others}", code=first.code, remedy=first.remedy, retry_after=first.retry_after)
