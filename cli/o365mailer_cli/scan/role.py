"""What a setting is for, told by its name: the host, the port, the user, the password, TLS."""

import enum
import functools
from typing import Final

from o365mailer_cli.scan.setting import Setting, Source, words_of


class Role(enum.Enum):
    """What a setting of a mail client is for."""

    HOST = "host"
    PORT = "port"
    USER = "user"
    PASSWORD = "password"
    TLS = "tls"


MAIL_WORDS: Final = frozenset({"smarthost", "relayhost", "notifications", "sendmail", "msmtp", "sasl"})
"""Words of mail; so is every word that begins with smtp, mail or email, or ends with mailer."""
_ROLE_WORDS: Final = frozenset(
    {"host", "server", "address", "addr", "hostname", "url", "uri", "dsn", "port", "number", "user", "username", "name"}
    | {"login", "account", "password", "passwd", "pass", "pwd", "file", "secret", "auth", "authentication", "key"}
    | {"tls", "ssl", "starttls", "use", "start", "require", "required", "enable", "enabled", "encryption", "secure"}
    | {"security", "auto", "policy"}
)
_NOT_SUBMISSION: Final = frozenset({"imap", "imaps", "pop", "pop3", "pop3s", "incoming", "inbound", "ews", "mailroom"})
_PASSWORD_ENDS: Final = ("password", "passwd", "pwd", "passphrase")
_TLS_WORDS: Final = frozenset({"tls", "ssl", "starttls", "encryption", "secure", "security", "smtpsecure"})
_TLS_ENDS: Final = ("tls", "ssl", "security", "smtpsecure")
_TLS_OTHER: Final = frozenset(
    {"verify", "skip", "insecure", "cert", "certificate", "ca", "key", "min", "version", "trust", "ciphers", "cipher"}
)
_HOST_ENDS: Final = ("host", "server", "hostname", "address", "addr", "relay", "url", "uri", "dsn", "mailhub", "mta")
_USER_ENDS: Final = ("user", "username", "login", "smtpname")
_TLS_VALUES: Final = frozenset({"tls", "ssl", "starttls", "smtps", "smtp+starttls", "smtp+tls"})


def role_of(setting: Setting) -> Role | None:
    """The role that the name gives the setting; None for all others."""
    parent = setting.path[-1] if setting.path else ""
    protocol = (setting.value or "").strip("\"'").lower() in _TLS_VALUES
    return _role(setting.name, parent, protocol)


@functools.lru_cache(maxsize=16384)
def _role(name: str, parent: str, protocol_of_tls: bool) -> Role | None:
    words = words_of(name)
    if not words:
        return None
    last = "_".join(words[-2:])
    if _is_password(words):
        return Role.PASSWORD
    if _is_tls(words, parent) or (words[-1] == "protocol" and protocol_of_tls):
        return Role.TLS
    if words[-1].endswith("port") or last == "port_number":
        return Role.PORT
    if words[-1].endswith(_USER_ENDS) or last in {"user_name", "user_id"}:
        return Role.USER
    if words[-1].endswith(_HOST_ENDS) and not {"from", "sender", "reply", "replyto", "to"} & set(words):
        return Role.HOST
    return None


def is_mailish(setting: Setting) -> bool:
    """Whether the name itself has a word of mail: SMTP_HOST, emailPassword."""
    return is_mail_word(setting.words)


@functools.lru_cache(maxsize=16384)
def is_mail_word(words: tuple[str, ...]) -> bool:
    """Whether one of the words is of mail."""
    return any(_mail_word(word) for word in words)


def is_about_mail(setting: Setting) -> bool:
    """The same for the name and those above it, but not for receiving mail (IMAP, POP, EWS)."""
    words = setting.all_words
    return not words & _NOT_SUBMISSION and any(_mail_word(word) for word in words)


def is_about_receiving(setting: Setting) -> bool:
    """Whether the name is about IMAP, POP or EWS."""
    return bool(setting.all_words & _NOT_SUBMISSION)


def shown_name(setting: Setting) -> str:
    """The name, if it may be shown: in a file, what stands in the place of a name could be a part of a secret."""
    kept = setting.place.source is not Source.FILE or role_of(setting) is not None or is_mailish(setting)
    return setting.name if kept else ""


def core(setting: Setting) -> tuple[str, ...]:
    """What is left of the name without words of mail and of roles: (`gf`,) of GF_SMTP_AUTH_PASSWORD."""
    return tuple(word for word in setting.words if word not in _ROLE_WORDS and not _mail_word(word))


def _mail_word(word: str) -> bool:
    return word in MAIL_WORDS or word.startswith(("smtp", "mail", "email")) or word.endswith(("mailer", "smtp"))


def _is_password(words: tuple[str, ...]) -> bool:
    if words == ("existing", "secret"):  # of many charts: the Secret with user and password
        return True
    return any(word in {"pass", "smtppass"} or word.endswith(_PASSWORD_ENDS) for word in words) and not {
        "reset", "policy", "forgot", "min", "max",
    } & set(words)  # fmt: skip


def _is_tls(words: tuple[str, ...], parent: str) -> bool:
    if _TLS_OTHER & set(words):
        return False
    if any(word in _TLS_WORDS or word.endswith(_TLS_ENDS) for word in words):
        return True
    return words[-1] in {"enable", "enabled", "required", "require"} and bool(_TLS_WORDS & set(words_of(parent)))
