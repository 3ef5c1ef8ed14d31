"""Mailer directories whose files are broken in every way a die can think of."""

import copy
import json
import random
import string
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from o365mailer_contract.quantities import byte_count, seconds
from o365mailer_contract.settings import InvalidSettings, Settings, UnknownRestriction, decode
from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import NotReady
from o365mailer_sidecar.mailer import MailerDirectory
from o365mailer_sidecar.message.policy import policy_of
from o365mailer_sidecar.reply import shortened

GOOD: Final[dict[str, Any]] = {
    "schemaVersion": 1,
    "revision": 7,
    "mailbox": "noreply@contoso.com",
    "expiresAt": "2036-01-01T00:00:00Z",
    "submission": {"host": "smtp.office365.com", "port": 587, "tls": "starttls"},
    "senders": {"allowed": ["@contoso.com", "x@y.z"], "onMismatch": "Rewrite", "nullReversePath": "Keep"},
    "recipients": {"allowedDomains": ["contoso.com"], "redirectTo": "a@b.c", "maxPerMessage": 5},
    "limits": {"connections": 2, "messageSize": "35Mi", "messagesPerMinute": 30},
    "delivery": {"confirmWithin": "10s", "lineEndings": "Reject", "offerAuth": True, "notify": "sender",
                 "spool": {"maxAge": "48h", "maxSize": "512Mi", "maxMessages": 9, "keepDead": "168h"}},
    "requires": ["senders.allowed", "recipients.redirectTo"],
    "logLevel": "info",
    "logAddresses": False,
}  # fmt: skip
ODD: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 0.5, 1e308, float("nan"), "", "x", "\n", "\0", "ä@ö.ü"),
    *("a@b.c\r\nRCPT TO:<v@w.x>", "a@b.c\n", "10s", "0s", "9" * 9 + "h", "0", "0Ki", "35Mi\n", "0001-01-01T00:00:00Z"),
    *(
        "9999-12-31T23:59:59-14:00",
        "2036-01-01T00:00:00",
        [],
        {},
        [[]],
        [None],
        ["x"] * 200,
        {"x": {}},
        "x" * 300,
        "..",
        "::",
    ),
)
CONTROLS: Final = frozenset(map(chr, (*range(32), 127)))


class Judge:
    """Decodes documents, and reads a directory of them; `inputs` counts, `told` says how they were taken."""

    def __init__(self, folder: Path, die: random.Random) -> None:
        self.folder, self.die = folder, die
        self.inputs = 0
        self.told: Counter[str] = Counter()
        self.directory = MailerDirectory(
            folder, now=lambda: datetime(2030, 1, 1, tzinfo=UTC), report=lambda *_, **__: None
        )
        self.good: Settings | None = None

    def step(self) -> None:
        """One document, in one of thirty cases as a file. Raises AssertionError, or what the reader should not have."""
        self.inputs += 1
        document = self._document()
        settings = self._decoded(document)
        if settings:
            self._use(settings)
        if self.inputs % 30 == 0:
            self._as_file(document, settings)

    def _decoded(self, document: bytes) -> Settings | None:
        try:
            settings = decode(document)
        except (InvalidSettings, UnknownRestriction) as wrong:
            self.told[type(wrong).__name__] += 1
            return None
        self.told["taken"] += 1
        return settings

    @staticmethod
    def _use(settings: Settings) -> None:
        """What is taken can be used, and brings no line end into a line of SMTP."""
        assert byte_count(settings.limits.message_size) >= 0
        assert seconds(settings.delivery.confirm_within) >= 0
        policy_of(settings)
        texts = (settings.mailbox, settings.recipients.redirect_to, settings.delivery.notify, settings.submission.host)
        assert not CONTROLS & set("".join(text or "" for text in texts))

    def _as_file(self, document: bytes, settings: Settings | None) -> None:
        token = self.die.choice(
            (b"token-not-a-secret", b"", b"\0", b"a\nb", b"\xff", b" t \r\n", self.die.randbytes(20))
        )
        (self.folder / "mailer.json").write_bytes(document)
        (self.folder / "access_token").write_bytes(token)
        before, self.told["file"] = self.directory.settings, self.told["file"] + 1
        try:
            mailer = self.directory.mailer()
        except NotReady as waiting:
            told = replies.filled(replies.NOT_READY, reason=shortened(str(waiting))).line()
            assert told.count(b"\n") == 1, "what an app is told is one line"
            assert told.endswith(b"\r\n")
        else:
            assert not set(mailer.token.value) - set(string.printable)
        assert settings is not None or self.directory.settings is before, "the last good stays"

    # --- Making documents -------------------------------------------------------------------------------------------

    def _document(self) -> bytes:
        if self.die.random() < 0.02:
            return self.die.choice(
                (self.die.randbytes(50), b"[" * 100_000, b'{"a":' * 5_000, b"", b"null", b"\xff\xfe{}")
            )
        document = copy.deepcopy(GOOD)
        for _ in range(self.die.randrange(4)):
            self._break(document)
        octets_ = bytearray(json.dumps(document).encode())
        if self.die.random() < 0.2:
            place = self.die.randrange(len(octets_))
            octets_[place : place + self.die.randrange(3)] = self.die.randbytes(self.die.randrange(3))
        return bytes(octets_)

    def _break(self, part: Any) -> None:
        """Something in it, at some depth, is gone, odd, or new."""
        keys = list(part) if isinstance(part, dict) else list(range(len(part)))
        key = self.die.choice(keys) if keys else None
        if key is not None and isinstance(part[key], dict | list) and part[key] and self.die.random() < 0.7:
            self._break(part[key])
        elif key is not None and self.die.random() < 0.3:
            del part[key]
        elif key is not None:
            part[key] = copy.deepcopy(self.die.choice(ODD))
        elif isinstance(part, dict):
            part["fromTheFuture"] = copy.deepcopy(self.die.choice(ODD))
