"""Mailer directories whose files are broken in every way: never fatal and never half used."""

import copy
import json
import string
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
JUNK: Final = (b"[" * 100_000, b'{"a":' * 5_000, b"", b"null", b"\xff\xfe{}")
CONTROLS: Final = frozenset(map(chr, (*range(32), 127)))


def broken(draw: st.DrawFn, part: Any) -> None:
    """Something in it, at some depth, is gone, odd, or new."""
    keys = list(part) if isinstance(part, dict) else list(range(len(part)))
    key = draw(st.sampled_from(keys)) if keys else None
    if key is not None and isinstance(part[key], dict | list) and part[key] and draw(st.booleans()):
        broken(draw, part[key])
    elif key is not None and draw(st.integers(0, 2)) == 0:
        del part[key]
    elif key is not None:
        part[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
    elif isinstance(part, dict):
        part["fromTheFuture"] = copy.deepcopy(draw(st.sampled_from(ODD)))


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A good document that is broken in up to three places, and in some cases as text too."""
    document = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(0, 3))):
        broken(draw, document)
    content = bytearray(json.dumps(document).encode())
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(content) - 1))
        content[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(content)


tokens = st.sampled_from((b"token-not-a-secret", b"", b"\0", b"a\nb", b"\xff", b" t \r\n")) | st.binary(max_size=20)


def decoded(document: bytes, told: Counter[str]) -> Settings | None:
    try:
        found = decode(document)
    except (InvalidSettings, UnknownRestriction) as wrong:
        told[type(wrong).__name__] += 1
        return None
    told["taken"] += 1
    return found


def use(found: Settings) -> None:
    """What is taken can be used, and brings no line end into a line of SMTP."""
    assert byte_count(found.limits.message_size) >= 0
    assert seconds(found.delivery.confirm_within) >= 0
    policy_of(found)
    texts = (found.mailbox, found.recipients.redirect_to, found.delivery.notify, found.submission.host)
    assert not CONTROLS & set("".join(text or "" for text in texts))


def read(directory: MailerDirectory) -> None:
    """What an app is told of the directory is one line, or its token can be sent."""
    try:
        mailer = directory.mailer()
    except NotReady as waiting:
        told = replies.filled(replies.NOT_READY, reason=shortened(str(waiting))).line()
        assert told.count(b"\n") == 1
        assert told.endswith(b"\r\n")
    else:
        assert not set(mailer.token.value) - set(string.printable)


@pytest.mark.promise("hostile-input-ends-its-own-session")
@pytest.mark.timeout(3600)  # `make fuzz`
def test_a_broken_mailer_directory_is_never_fatal_and_never_half_used(tmp_path: Path) -> None:
    directory = MailerDirectory(tmp_path, now=lambda: datetime(2030, 1, 1, tzinfo=UTC), report=lambda *_, **__: None)
    told: Counter[str] = Counter()

    @settings(max_examples=10 * settings().max_examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(documents() | st.sampled_from(JUNK) | st.binary(max_size=50), tokens)
    def judge(document: bytes, token: bytes) -> None:
        if found := decoded(document, told):
            use(found)
        (tmp_path / "mailer.json").write_bytes(document)
        (tmp_path / "access_token").write_bytes(token)
        before = directory.settings
        read(directory)
        assert found is not None or directory.settings is before, "the last good stays"

    judge()
    assert told.keys() >= {"taken", "InvalidSettings", "UnknownRestriction", "NewerSchema"}
