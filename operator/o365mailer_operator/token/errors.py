"""What can go wrong between a mailer's spec and its token: a table of reasons, and one tree of errors.

    TokenError
    ├── InvalidSpec (also ValueError)   the document is not an O365Mailer that this version understands
    ├── CredentialError                 a Secret that the spec names cannot be used
    ├── ConfigMapError                  a ConfigMap that the spec names cannot be used
    ├── ServiceAccountError             a ServiceAccount that the spec names cannot be used
    └── EntraError                      the token endpoint did not give a token
        └── EntraRefused                its verdict, with an AADSTS code

The text of an error says the cause and then the remedy. It never holds a secret: errors of other libraries carry
requests and with them secrets, so they are not chained to ours.
"""

from dataclasses import dataclass
from typing import Final

from o365mailer_operator.token.aadsts import CODES


@dataclass(frozen=True)
class Reason:
    """A row of the table."""

    word: str
    """What conditions, Events, metrics, logs and the command line call it."""
    meaning: str
    transient: bool = False
    """Time heals it."""


INVALID_SPEC: Final = Reason("InvalidSpec", "the document is not an O365Mailer that this version understands")
HOST_NOT_ALLOWED: Final = Reason("HostNotAllowed", "the installation does not allow a host; nothing was sent to it")
SECRET_NOT_FOUND: Final = Reason("SecretNotFound", "there is no such Secret")
SECRET_UNREADABLE: Final = Reason("SecretUnreadable", "reading the Secret is forbidden, or fails")
SECRET_KEY_MISSING: Final = Reason("SecretKeyMissing", "the Secret has no such key")
SECRET_KEY_EMPTY: Final = Reason("SecretKeyEmpty", "the key holds nothing, or only white space")
SECRET_KEY_NOT_TEXT: Final = Reason("SecretKeyNotText", "the key holds no UTF-8 text of one line, or too long a one")
CONFIG_MAP_NOT_FOUND: Final = Reason("ConfigMapNotFound", "there is no such ConfigMap")
CONFIG_MAP_UNREADABLE: Final = Reason("ConfigMapUnreadable", "reading the ConfigMap is forbidden, or fails")
CONFIG_MAP_KEY_MISSING: Final = Reason("ConfigMapKeyMissing", "the ConfigMap has no such key")
CA_BUNDLE_INVALID: Final = Reason("CABundleInvalid", "`ca` names no PEM certificates, or one with an odd key")
CERTIFICATE_INVALID: Final = Reason("CertificateInvalid", "tls.crt or tls.key is not PEM, damaged, encrypted or large")
CERTIFICATE_KEY_NOT_RSA: Final = Reason("CertificateKeyNotRSA", "Entra takes only RSA keys of 2048 bits or more")
CERTIFICATE_KEY_MISMATCH: Final = Reason("CertificateKeyMismatch", "tls.key is not the key of tls.crt")
CERTIFICATE_NOT_YET_VALID: Final = Reason("CertificateNotYetValid", "its validity has not begun", transient=True)
CERTIFICATE_EXPIRED: Final = Reason("CertificateExpired", "its validity is over")
SERVICE_ACCOUNT_NOT_FOUND: Final = Reason("ServiceAccountNotFound", "there is no such ServiceAccount")
SERVICE_ACCOUNT_UNREADABLE: Final = Reason("ServiceAccountUnreadable", "reading it is forbidden, or not possible here")
SERVICE_ACCOUNT_NOT_OPTED_IN: Final = Reason("ServiceAccountNotOptedIn", "its annotation names no or another client id")
TOKEN_REQUEST_FORBIDDEN: Final = Reason("TokenRequestForbidden", "the controller may not request its tokens")
TOKEN_REQUEST_FAILED: Final = Reason("TokenRequestFailed", "the API server gave no token of it", transient=True)
TOKEN_NOT_WRITTEN: Final = Reason("TokenNotWritten", "the token cannot be put where the relay reads", transient=True)
ENTRA_REFUSED: Final = Reason("EntraRefused", "Entra's verdict, with a code that aadsts.py does not hold")
ENTRA_THROTTLED: Final = Reason("EntraThrottled", "Entra asks to wait (429)", transient=True)
ENTRA_UNREACHABLE: Final = Reason("EntraUnreachable", "no connection, no answer in time, or a 5xx", transient=True)
ENTRA_NOT_TRUSTED: Final = Reason("EntraNotTrusted", "no trusted authority signed its certificate", transient=True)
ENTRA_ANSWER_INVALID: Final = Reason("EntraAnswerInvalid", "the answer is not what the protocol says", transient=True)

# Every row above, and every code.
REASONS: Final = frozenset(
    [each.word for each in list(globals().values()) if isinstance(each, Reason)]
    + [code.reason for code in CODES.values()]
)
"""The closed vocabulary of this package."""


class TokenError(Exception):
    """No token, and why. Holds nothing that must not be logged."""

    def __init__(self, reason: Reason, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason.word
        self.transient = reason.transient
        self.retry_after = retry_after
        """For how many seconds the other side asked us to wait."""


class InvalidSpec(TokenError, ValueError):
    """The text begins with the path of the wrong member."""

    def __init__(self, message: str) -> None:
        super().__init__(INVALID_SPEC, message)


class CredentialError(TokenError):
    """`secret` and `key` say which Secret cannot be used."""

    def __init__(self, reason: Reason, message: str, *, secret: str, key: str | None = None) -> None:
        super().__init__(reason, message)
        self.secret = secret
        self.key = key


class ConfigMapError(TokenError):
    """`config_map` and `key` say which ConfigMap cannot be used."""

    def __init__(self, reason: Reason, message: str, *, config_map: str, key: str | None = None) -> None:
        super().__init__(reason, message)
        self.config_map = config_map
        self.key = key


class ServiceAccountError(TokenError):
    """`service_account` says which one cannot be used."""

    def __init__(self, reason: Reason, message: str, *, service_account: str) -> None:
        super().__init__(reason, message)
        self.service_account = service_account


class EntraError(TokenError):
    """`correlation_id` is what Microsoft's support asks for."""

    def __init__(
        self, reason: Reason, message: str, *, retry_after: float | None = None, correlation_id: str | None = None
    ) -> None:
        if correlation_id:
            message = f"{message} [correlation id {correlation_id}]"
        super().__init__(reason, message, retry_after=retry_after)
        self.correlation_id = correlation_id


class EntraRefused(EntraError):
    """Entra's verdict. `code` is its AADSTS number, from which reason and transience follow (aadsts.CODES).

    `remedy` is the part of the message that says what to do; empty if Entra's own words are all there is.
    `about_credential`: the verdict is on the secret itself, so that another secret may fare better.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None,
        remedy: str = "",
        retry_after: float | None = None,
        correlation_id: str | None = None,
    ) -> None:
        known = CODES.get(code) if code is not None else None
        reason = Reason(known.reason, known.cause, transient=known.transient) if known else ENTRA_REFUSED
        super().__init__(reason, message, retry_after=retry_after, correlation_id=correlation_id)
        self.code = code
        self.remedy = remedy
        self.about_credential = known.about_credential if known else False
