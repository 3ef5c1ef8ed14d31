"""What can go wrong between a mailer's spec and its token, as one tree.

    TokenError
    ├── InvalidSpec (also ValueError)      the document is not an O365Mailer that this version understands
    ├── HostNotAllowed                     a host that the installation does not allow; nothing was sent to it
    ├── CredentialError                    the Secrets that the spec names cannot be used
    │   ├── SecretNotFound
    │   ├── SecretUnreadable               it may be there, but we may not read it
    │   ├── SecretKeyMissing
    │   ├── SecretKeyEmpty
    │   ├── SecretKeyNotText
    │   ├── CABundleInvalid                a caSecretRef's key holds no PEM certificate
    │   └── CertificateError
    │       ├── CertificateInvalid
    │       ├── CertificateKeyNotRSA
    │       ├── CertificateKeyMismatch
    │       ├── CertificateNotYetValid
    │       └── CertificateExpired
    ├── TokenNotWritten                    there is a token, and it could not be put where the relay reads
    └── EntraError                         the token endpoint did not give a token
        ├── EntraRefused                   its verdict, with an AADSTS code
        ├── EntraThrottled                 429: asked to wait
        ├── EntraUnreachable               no connection, no answer in time, 5xx
        ├── EntraNotTrusted                its certificate is not signed by an authority we trust
        └── EntraAnswerInvalid             an answer that is not what the protocol says

Every error knows its condition reason (`reason`, from the closed vocabulary REASONS), whether time heals it without
anybody's help (`transient`), and how long the other side asked us to wait (`retry_after`, seconds). Its text says the
cause and then the remedy, and never holds a secret: third-party errors, which carry requests and with them secrets,
are not chained to ours.
"""

from typing import ClassVar, Final

from o365mailer_operator.token.aadsts import CODES


class TokenError(Exception):
    """No token, and why. Carries nothing that must not be logged."""

    reason: str = "TokenError"
    transient: bool = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InvalidSpec(TokenError, ValueError):
    """The document is not an O365Mailer that this version understands. The text begins with the member's path."""

    reason = "InvalidSpec"


class HostNotAllowed(TokenError):
    """A host outside the installation's allow-list was named, by the spec or by discovery. Nothing was sent to it."""

    reason = "HostNotAllowed"


class CredentialError(TokenError):
    """A Secret that the spec names cannot be used. `secret` and `key` say which."""

    def __init__(self, message: str, *, secret: str, key: str | None = None) -> None:
        super().__init__(message)
        self.secret = secret
        self.key = key


class SecretNotFound(CredentialError):
    """There is no such Secret."""

    reason = "SecretNotFound"


class SecretUnreadable(CredentialError):
    """Reading it is forbidden, or fails: RBAC in a cluster, permissions for a file."""

    reason = "SecretUnreadable"


class SecretKeyMissing(CredentialError):
    """The Secret has no such key."""

    reason = "SecretKeyMissing"


class SecretKeyEmpty(CredentialError):
    """The key is there and holds nothing, or only white space."""

    reason = "SecretKeyEmpty"


class SecretKeyNotText(CredentialError):
    """The key holds no UTF-8 text of one line, or one that is too long for a client secret."""

    reason = "SecretKeyNotText"


class CABundleInvalid(CredentialError):
    """What a caSecretRef names holds no PEM certificate, or one with a key that TLS certificates do not have."""

    reason = "CABundleInvalid"


class CertificateError(CredentialError):
    """The certificate credential cannot sign an assertion that Entra would take."""


class CertificateInvalid(CertificateError):
    """tls.crt or tls.key is not PEM, is damaged, encrypted or too large."""

    reason = "CertificateInvalid"


class CertificateKeyNotRSA(CertificateError):
    """The key is not RSA of 2048 bits or more: Entra takes PS256 and RS256 assertions only."""

    reason = "CertificateKeyNotRSA"


class CertificateKeyMismatch(CertificateError):
    """tls.key is not the key of tls.crt."""

    reason = "CertificateKeyMismatch"


class CertificateNotYetValid(CertificateError):
    """The certificate's validity has not begun."""

    reason = "CertificateNotYetValid"
    transient = True


class CertificateExpired(CertificateError):
    """The certificate's validity is over."""

    reason = "CertificateExpired"


class TokenNotWritten(TokenError):
    """The token Secret, or the files in its place, could not be written."""

    reason = "TokenNotWritten"
    transient = True


class EntraError(TokenError):
    """The token endpoint gave no token. `correlation_id` is what Microsoft's support asks for."""

    def __init__(self, message: str, *, retry_after: float | None = None, correlation_id: str | None = None) -> None:
        if correlation_id:
            message = f"{message} [correlation id {correlation_id}]"
        super().__init__(message, retry_after=retry_after)
        self.correlation_id = correlation_id


class EntraRefused(EntraError):
    """Entra's verdict. `code` is its AADSTS number; reason, transience and remedy are those of aadsts.CODES.

    `about_credential`: the verdict is on the secret itself, so that another secret may fare better.
    """

    UNLISTED: ClassVar[str] = "EntraRefused"
    """The reason of a code that the table does not hold; the text still names it."""

    def __init__(
        self,
        message: str,
        *,
        code: int | None,
        retry_after: float | None = None,
        correlation_id: str | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after, correlation_id=correlation_id)
        self.code = code
        known = CODES.get(code) if code is not None else None
        self.reason = known.reason if known else self.UNLISTED
        self.transient = known.transient if known else False
        self.about_credential = known.about_credential if known else False


class EntraThrottled(EntraError):
    """Entra asks us to come back later (429)."""

    reason = "EntraThrottled"
    transient = True


class EntraUnreachable(EntraError):
    """No connection, no answer in time, or a 5xx."""

    reason = "EntraUnreachable"
    transient = True


class EntraNotTrusted(EntraError):
    """The TLS certificate of the authority (or of what inspects TLS on the way) is not one we trust."""

    reason = "EntraNotTrusted"
    transient = True


class EntraAnswerInvalid(EntraError):
    """An answer that the protocol does not know: not JSON, a redirect, no token, no lifetime."""

    reason = "EntraAnswerInvalid"
    transient = True


def _reasons(kind: type[TokenError]) -> frozenset[str]:
    own = frozenset({kind.reason})
    return own.union(*(_reasons(child) for child in kind.__subclasses__()))


REASONS: Final = (_reasons(TokenError) - {TokenError.reason}) | {
    EntraRefused.UNLISTED,
    *(code.reason for code in CODES.values()),
}
"""The closed vocabulary of this package: conditions, Events, metrics' labels, logs and the command line use these."""
