"""The programs: how each is started, what it needs, and what its configuration must say. Data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from apps import installing


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program that apps send with."""

    name: str
    title: str
    command: tuple[str, ...]
    """Relative to the folder `sources`; `{NAME}` is a variable of its environment, those of `prepare` among them."""
    tools: tuple[str, ...] = ()
    """Found on PATH."""
    files: tuple[str, ...] = ()
    """Further files that its Debian package brings."""
    prepare: Callable[[], Mapping[str, str]] = dict
    """Installs the rest, and returns the environment that it needs."""
    root: bool = False
    without: frozenset[str] = frozenset()
    """Scenarios that it has no setting for."""
    plain: str
    """What its configuration needs, for docs/apps.md."""
    insists: str
    """What makes it insist on STARTTLS, and so what to leave out."""
    again: str
    """What becomes of a mail after 4xx."""


PHP: Final = ("php", "-c", "/dev/null", "-d", "memory_limit=-1")
"""Without this machine's php.ini; the memory limit is the one that Debian's has."""

PROGRAMS: Final = (
    Program(
        name="smtplib",
        title="Python `smtplib`",
        command=(sys.executable, "python/with_smtplib.py"),
        plain='`SMTP("127.0.0.1", 25)`',
        insists="`starttls()`",
        again="the caller's",
    ),
    Program(
        name="aiosmtplib",
        title="aiosmtplib",
        command=(sys.executable, "python/with_aiosmtplib.py"),
        plain='`send(…, hostname="127.0.0.1", port=25)`',
        insists="`start_tls=True`, `use_tls=True`",
        again="the caller's",
    ),
    Program(
        name="django",
        title="Django",
        command=(sys.executable, "python/with_django.py"),
        prepare=installing.python,
        plain='`EMAIL_HOST = "127.0.0.1"`',
        insists="`EMAIL_USE_TLS`, `EMAIL_USE_SSL`",
        again="the caller's; `fail_silently=True` throws it away",
    ),
    Program(
        name="flask",
        title="Flask-Mail",
        command=(sys.executable, "python/with_flask.py"),
        prepare=installing.python,
        plain='`MAIL_SERVER = "127.0.0.1"`',
        insists="`MAIL_USE_TLS`, `MAIL_USE_SSL`",
        again="the caller's",
    ),
    Program(
        name="nodemailer",
        title="nodemailer",
        command=("node", "nodemailer/send.js"),
        tools=("node",),
        prepare=installing.node,
        plain='`{host: "127.0.0.1", port: 25}`',
        insists="`requireTLS`, `secure`",
        again="the caller's",
    ),
    Program(
        name="spring",
        title="Spring (Jakarta Mail)",
        command=("java", "-Duser.home={HOME}", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "Send"),
        tools=("java",),
        prepare=installing.spring,
        plain="`spring.mail.host=127.0.0.1`",
        insists="`spring.mail.properties.mail.smtp.starttls.required`",
        again="the caller's",
    ),
    Program(
        name="go",
        title="Go `net/smtp`",
        command=("{GO_APP}",),
        prepare=installing.go,
        plain='`smtp.SendMail("127.0.0.1:25", …)`',
        insists="`StartTLS`",
        again="the caller's",
    ),
    Program(
        name="phpmailer",
        title="PHPMailer",
        command=(*PHP, "php/with_phpmailer.php"),
        tools=("php",),
        files=("/usr/share/php/libphp-phpmailer/autoload.php",),
        plain='`isSMTP(); $Host = "127.0.0.1"`',
        insists="`SMTPSecure`",
        again="the caller's",
    ),
    Program(
        name="symfony",
        title="Symfony Mailer, Laravel",
        command=(*PHP, "php/with_symfony.php"),
        tools=("php",),
        files=("/usr/share/php/Symfony/Component/Mailer/autoload.php",),
        plain="`MAILER_DSN=smtp://127.0.0.1:25`",
        insists="`smtps://`",
        again="the caller's; a queued mail (Messenger) is retried by its worker",
    ),
    Program(
        name="php-mail",
        title="PHP `mail()` with msmtp",
        command=("php/mail",),
        tools=("php", "msmtp"),
        plain="`sendmail_path = msmtp -t`",
        insists="`tls on` in msmtprc",
        again="the caller's",
    ),
    Program(
        name="ruby",
        title="Ruby `net/smtp`",
        command=("ruby", "ruby/send.rb"),
        tools=("ruby",),
        plain='`Net::SMTP.start("127.0.0.1", 25)`',
        insists="`starttls: :always`, `tls: true`",
        again="the caller's",
    ),
    Program(
        name="curl",
        title="`curl -T`",
        command=("curl/send",),
        tools=("curl",),
        plain="`smtp://127.0.0.1:25/NAME`, `--crlf` for files with LF",
        insists="`--ssl-reqd`, `smtps://`",
        again="the caller's",
    ),
    Program(
        name="swaks",
        title="swaks",
        command=("swaks/send",),
        tools=("swaks",),
        plain="`--server 127.0.0.1`",
        insists="`--tls`",
        again="the caller's",
    ),
    Program(
        name="msmtp",
        title="msmtp (as sendmail)",
        command=("msmtp/send",),
        tools=("msmtp",),
        plain="`host 127.0.0.1` in msmtprc",
        insists="`tls on`",
        again="the caller's: it has no queue",
    ),
    Program(
        name="s-nail",
        title="s-nail (`mailx`)",
        command=("snail/send",),
        tools=("s-nail",),
        plain="`set mta=smtp://127.0.0.1:25 smtp-auth=none`",
        insists="`smtp-use-starttls`",
        again="saved in `~/dead.letter`",
    ),
    Program(
        name="postfix",
        title="Postfix",
        command=(sys.executable, "postfix/send"),
        tools=("postfix",),
        root=True,
        plain="`relayhost = [127.0.0.1]:25`",
        insists="`smtp_tls_security_level = encrypt`",
        again="stays in its queue and is retried",
    ),
)
BY_NAME: Final = {program.name: program for program in PROGRAMS}
