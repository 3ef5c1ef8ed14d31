"""The table of header changes in docs/sidecar.md is what happens: every row does, and nothing else does."""

import re
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from o365mailer_contract.settings import Recipients, Senders
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message import body as body_module
from o365mailer_sidecar.message.body import Body, BodyReader
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.message.outgoing import Outgoing
from o365mailer_sidecar.message.policy import Policy
from o365mailer_sidecar.queue import notice

MAILBOX = "noreply@contoso.com"
ENVELOPE = Envelope(queue_id="Q", sender=Sender(address=MAILBOX), recipients=(Recipient(address="x@y.z"),))
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "sidecar.md"
KNOWN = b"From: noreply@contoso.com\r\nDate: d\r\nMessage-ID: m\r\n"
REWRITE = {"onMismatch": "Rewrite"}


Members = dict[str, Any]
"""Of the settings document."""


def policy_of(senders: Members | None = None, recipients: Members | None = None) -> Policy:
    """The mailbox's."""
    parts = msgspec.convert(senders or {}, Senders), msgspec.convert(recipients or {}, Recipients)
    return Policy(MAILBOX, *parts)


def outgoing(content: bytes, senders: Members | None = None, recipients: Members | None = None) -> Outgoing:
    """A message of the mailbox as it leaves under these settings."""
    message = Message(ENVELOPE, Body(content), datetime(2026, 11, 28, tzinfo=UTC))
    return Outgoing(policy_of(senders, recipients).applied(message))


def arrives(content: bytes, **settings: Any) -> bytes:
    """What Exchange gets."""
    return b"".join(outgoing(content, **settings).stuffed()).replace(b"\r\n..", b"\r\n.")


def names(content: bytes) -> list[bytes]:
    """The names of the fields before the first empty line."""
    header = content.split(b"\r\n\r\n", 1)[0] if not content.startswith(b"\r\n") else b""
    return [line.split(b":")[0].strip().lower() for line in header.split(b"\r\n") if line[:1] not in (b"", b" ", b"\t")]


def added(name: bytes, content: bytes, **settings: Any) -> Callable[[], bool]:
    """Whether the field is in what arrives, and is not in the content."""
    return lambda: name in names(arrives(content, **settings)) and name not in names(content)


EXAMPLES: dict[str, Callable[[], bool]] = {
    "`Received`": added(b"received", KNOWN + b"\r\n"),
    "`From`": added(b"from", b"To: x\r\n\r\n"),
    "`Date`": added(b"date", b"To: x\r\n\r\n"),
    "`Message-ID`": added(b"message-id", b"To: x\r\n\r\n"),
    "`Bcc`, `Resent-Bcc`": lambda: arrives(b"Bcc: v\r\n" + KNOWN + b"Resent-Bcc: v\r\n\r\n").endswith(KNOWN + b"\r\n"),
    "an mbox line (`From root@host Mon Jan 1 …`, `>From …`) or a byte order mark before the first field": lambda: (
        {arrives(mark + KNOWN + b"\r\n") for mark in (b"From x 1:00\r\n", b">From x\r\n", b"\xef\xbb\xbf")}
        == {arrives(KNOWN + b"\r\n")}
    ),
    "the empty line": lambda: arrives(KNOWN + b"text\r\n").endswith(KNOWN + b"\r\ntext\r\n"),
    "`From`, `Sender`, `Reply-To`": lambda: arrives(
        KNOWN.replace(b"noreply", b"boss") + b"Sender: b@c.d\r\nReply-To:\r\n\r\n", senders=REWRITE
    ).endswith(b" +0000\r\n" + KNOWN.replace(b"\r\n", b"\r\nReply-To: boss@contoso.com\r\n", 1) + b"\r\n"),
    "`X-Original-To`": added(b"x-original-to", KNOWN + b"\r\n", recipients={"redirectTo": "a@b.c"}),
}  # fmt: skip
"""The first cell of each row of the table, and an example of the change."""


@pytest.mark.promise("message-unchanged")
def test_every_row_of_the_documents_table_happens() -> None:
    section = DOCUMENT.read_text().split("## What it changes in a header\n")[1].split("\n## ")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in section.splitlines() if line.startswith("| ")]
    assert rows[1:] == list(EXAMPLES), "each row has an example, and each example a row"
    assert {row: example() for row, example in EXAMPLES.items()} == dict.fromkeys(EXAMPLES, True)


LINE = st.sampled_from(
    [b"Subject: \xff", b" folded \t", b"Bcc: v@w.x", b"resent-bcc: v", b"Reply-To: r@s.t", b"Reply-To:", b"To: b, c",
     b"Date: d",
     b"From: boss@b.c (Boss)", b"From: noreply@contoso.com", b"Sender: noreply@contoso.com", b"Message-ID: m",
     b"DKIM-Signature: a",
     b"Received: r", b"X-Original-To: x", b"MIME-Version: 1.0"]
)  # fmt: skip
CHANGED = {b"received", b"from", b"date", b"message-id", b"bcc", b"resent-bcc", b"sender", b"reply-to"}


@pytest.mark.promise("message-unchanged")
@pytest.mark.promise("rewrite-sends-as-the-mailbox")
@given(st.lists(LINE, max_size=12), st.binary(max_size=40), st.booleans())
def test_nothing_else_is_changed(lines: list[bytes], text: bytes, rewrite: bool) -> None:
    text = text.translate(None, b"\r\n\0") + b"\r\n"
    content = b"".join(line + b"\r\n" for line in [b"First: x", *lines]) + b"\r\n" + text
    try:
        arrived = arrives(content, senders=REWRITE if rewrite else {})
    except Refused:
        return
    header, empty_line, body = arrived.partition(b"\r\n\r\n")
    assert (empty_line, body) == (b"\r\n\r\n", text)

    def others(block: bytes) -> list[bytes]:
        fields = re.findall(rb"[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", block)
        return [field for field in fields if field.split(b":")[0].lower() not in CHANGED]

    assert others(header + b"\r\n") == others(content.partition(b"\r\n\r\n")[0] + b"\r\n")


@pytest.mark.promise("smtp-conformance")
@pytest.mark.parametrize(
    ("content", "settings", "needed"),
    [("From: J\u00fcrgen <j\u00fcrgen@b\u00fccher.example>\r\n\r\n", {"senders": REWRITE}, True),
     ("From: app <j\u00fcrgen@b\u00fccher.example>\r\n\r\n", {"senders": REWRITE}, True),
     ("Subject: \u00fc\r\nFrom: app@b.c\r\n\r\n", {"senders": REWRITE}, False),
     ("From: J\u00fcrgen <noreply@contoso.com>\r\n\r\n\u00fc\r\n", {"senders": REWRITE}, False)],
)  # fmt: skip
def test_utf8_in_a_field_that_the_relay_writes_is_known(content: str, settings: Members, needed: bool) -> None:
    assert outgoing(content.encode(), **settings).utf8_written is needed


def test_8_bit_text_that_is_not_utf8_is_copied_and_not_announced_as_utf8() -> None:
    sent = outgoing(b"From: J\xfcrgen <app@b.c>\r\n\r\n", REWRITE)
    assert sent.head.endswith(b"From: J\xfcrgen <noreply@contoso.com>\r\nReply-To: J\xfcrgen <app@b.c>\r\n\r\n"[:-2])
    assert (sent.utf8_written, sent.eight_bit) == (False, True)


@pytest.mark.promise("senders-restricted")
@pytest.mark.parametrize("memory", [2**14, 2**16, 2**17, 2**18, 2**19], ids=str)
@pytest.mark.parametrize("length", [2**13, 2**15, 2**17], ids=str)
def test_an_author_after_a_long_header_is_judged_however_much_is_held_in_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, memory: int, length: int
) -> None:
    monkeypatch.setattr(body_module, "MEMORY", memory)
    reader = BodyReader(size_limit=2**24, line_endings="Normalize", scratch=tmp_path)
    reader.feed(b"X: " + b"a" * 900 + b"\r\n " * (length // 3) + b"\r\nFrom: boss@contoso.com\r\n\r\nhi\r\n.\r\n")
    with pytest.raises(Refused) as refused:
        policy_of().applied(Message(ENVELOPE, reader.body(), datetime.now(UTC)))
    fits = length + 1000 < memory
    expected = "From names <boss@contoso.com>" if fits else f"headers do not end within {memory // 1024} KiB"
    assert expected in refused.value.reply.text


MOST = 2**18
HOSTILE = {
    "spaces-after-from": b"X: y\r\nfrom" + b" " * (MOST - 1000),
    "folds-after-from": b"X: y\r\nfrom" + b"\r\n " * (MOST // 3 - 1000),
    "folds": b"X: y\r\n" + b" \r\n" * (MOST // 3 - 1000),
    "folded-from": b"From:" + b"\r\n " * (MOST // 3 - 1000) + b"a@b.c\r\n",
    "authors": b"From: " + b"1@b," * 13_000 + b"\r\n",
    "words": b"From: " + b"a " * 15_000 + b"\r\n",
    "quoted-pairs": b'From: "' + b"\\a" * 30_000 + b'" <a@b.c>\r\n',
    "comments": b"From: " + b"(" * 8_000 + b")" * 8_000 + b"a@b.c\r\n",
    "angle": b"From: <" + b'""' * 30_000 + b">\r\n",
    "angle-comments": b"From: <" + b"(a)" * 20_000 + b"a@b.c>\r\n",
    "bcc": b"Bcc:\r\nX:\r\n" * 6_000,
    "reply-to": b"From: a@b.c\r\n" + b"Reply-To:\r\n" * 6_000,
    "received": b"Received:\r\n" * (MOST // 11 - 1000),
    "froms": b"X: y\r\nz\r\n" + b"from\r\n" * (MOST // 6 - 1000),
    "mbox": b"From x\r\n" * (MOST // 8 - 1000) + b"X: y\r\n",
    "separators": b"X: " + b"\x0bfrom" * (MOST // 5 - 1000) + b"\r\n",
    "subject": b"Subject:" + b"\r\n a" * (MOST // 4 - 1000) + b"\r\n",
    "content-type": b"Content-Type:" + b"\r\n " * (MOST // 3 - 1000) + b"x\r\n",
}
"""Headers that cost the most, by what is repeated in them."""

COPIES = 6
"""As large as the message: its header, what is sent instead of it, and its blocks."""


def peak(work: Callable[[], object]) -> int:
    """Bytes that were allocated at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def handled(content: bytes, senders: Members) -> None:
    """Everything that is done with a header: judged, written, and told of in a notice."""
    with suppress(Refused):
        b"".join(outgoing(content, senders).stuffed())
    message = Message(ENVELOPE, Body(content), datetime.now(UTC))
    notice.addressee(message, [notice.Failure(Recipient(address="x@y.z"), "")], notify="sender")
    notice.composed(message, [], mailbox=MAILBOX, to="x@y.z")


@pytest.mark.promise("memory-and-disk-are-bounded")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_header_takes_no_more_memory_than_another(content: bytes) -> None:
    content += b"\r\n" + b"x" * 100 + b"\r\n"
    assert len(content) < MOST
    for senders in ({}, REWRITE, {"allowed": ["@b"]}):
        handled(KNOWN + b"\r\n", senders)  # what is imported and compiled once
        assert peak(lambda senders=senders: handled(content, senders)) < COPIES * MOST  # type: ignore[misc]


@pytest.mark.promise("memory-and-disk-are-bounded")
def test_no_long_field_is_remembered() -> None:
    handled(KNOWN + b"\r\n", {})
    tracemalloc.start()
    try:
        for number in range(10):
            handled(b"From: " + b"%d@b.c," % number * 900 + b"\r\n\r\n", {"allowed": ["@b.c"]})
        assert tracemalloc.get_traced_memory()[0] < 2**17
    finally:
        tracemalloc.stop()
