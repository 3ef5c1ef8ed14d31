"""What a mailer's settings say to an envelope and its headers: pure, table by table."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from o365mailer_contract.settings import Recipients, Senders
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message.body import Body
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.message.outgoing import original_recipients
from o365mailer_sidecar.message.policy import Policy
from o365mailer_sidecar.message.rewrite import as_mailbox
from o365mailer_sidecar.reply import shortened

MAILBOX = "noreply@contoso.com"


def policy(senders: dict[str, Any] | None = None, recipients: dict[str, Any] | None = None) -> Policy:
    """As the document would say it."""
    return Policy(MAILBOX, msgspec.convert(senders or {}, Senders), msgspec.convert(recipients or {}, Recipients))


def envelope(sender: str = MAILBOX, *to: Recipient) -> Envelope:
    """To x@y.z unless told otherwise."""
    return Envelope(queue_id="Q", sender=Sender(address=sender), recipients=to or (Recipient(address="x@y.z"),))


def applied(settings: Policy, sent: Envelope, head: bytes) -> tuple[Envelope, bytes | None]:
    """The envelope to send, and the header where it is not sent as it is. Raises Refused."""
    message = Message(sent, Body(head), datetime.now(UTC))
    found = settings.applied(message)
    replaced = as_mailbox(message.header, mailbox=MAILBOX, allows=settings.allows) if found.rewritten else {}
    added = original_recipients(sent) if settings.recipients.redirect_to else b""
    changed = added + message.header.edited(replaced)
    return found.envelope, None if changed == head else changed


def refusal(settings: Policy, sent: Envelope, head: bytes = b"") -> str:
    """The reply that refuses."""
    with pytest.raises(Refused) as refused:
        applied(settings, sent, head)
    return refused.value.reply.line().decode().strip()


NOT_ALLOWED = (
    "550 5.7.1 {} names <boss@contoso.com>, who may not send here: write noreply@contoso.com, or add the address to "
    "the mailer's spec.senders.allowed"
)
MALFORMED = '554 5.6.0 The {} header is no address that can be read; write it as "Name" <user@example.com>'
DISGUISED = (
    "554 5.6.0 Only some programs read a header line of this message as {0}: write the name with no other character, "
    "as {0}: user@example.com"
)
READ_BY_SOME = [
    ("From", b"From\x0b"), ("From", b"from\x0c"), ("From", b"FROM\xc2\xa0"), ("From", b"From\xe2\x80\x8b"),
    ("From", b"\xef\xbb\xbfFrom"),
    ("From", b"\x0bFrom"), ("From", b"Fr\x7fom"), ("From", b"F r o m"), ("From", b"From\xa0"),
    ("From", b"From\x1c \x01"),
    ("Sender", b"Sender\x0b"), ("Sender", b"\xc5\xbfender"), ("Sender", b"Sen\xc2\xadder"),
]  # fmt: skip
REWRITE = {"onMismatch": "Rewrite"}


@pytest.mark.promise("senders-restricted")
@pytest.mark.promise("senders-restricted")
@pytest.mark.parametrize(
    ("allowed", "address", "expected"),
    [([], MAILBOX, True),
     ([], "NoReply@CONTOSO.com", True),
     ([], "boss@contoso.com", False),
     (["boss@contoso.com"], MAILBOX, True),
     (["boss@contoso.com"], "Boss@Contoso.Com", True),
     (["@contoso.com"], "anybody@contoso.com", True),
     (["*@contoso.com"], "anybody@CONTOSO.COM", True),
     (["@contoso.com"], "anybody@sub.contoso.com", False),
     (["@contoso.com"], "anybody@evilcontoso.com", False),
     (["@contoso.com"], '"x@contoso.com"@evil.example', False),
     (["@contoso.com"], "anybody@contoso.com.", True),
     (["@contoso.com"], "@contoso.com", False),
     (["@contoso.com"], "root", False),
     (["b*@contoso.com"], "boss@contoso.com", False),
     ([], '"noreply"@contoso.com', True),
     ([], '"no\\reply"@Contoso.com.', True),
     ([], '"no reply"@contoso.com', False),
     (["app@[IPv6:2001:db8::1]"], "app@[ipv6:2001:DB8::1]", True),
     (["@b\u00fccher.example"], "x@xn--bcher-kva.example", True),
     (["*@xn--bcher-kva.example"], "x@B\u00dcCHER.example.", True),
     (["x@bu\u0308cher.example"], "x@b\u00fccher.example", True),
     (["j\u00fcrgen@contoso.com"], "Ju\u0308rgen@contoso.com", True),
     (["@stra\u00dfe.example"], "x@strasse.example", False),
     (["k@contoso.com"], "\u212a@contoso.com", False),
     (["@kelvin.example"], "x@\u212aelvin.example", False),
     (["s@contoso.com"], "\u017f@contoso.com", False),
     (["@contoso.com"], "x@xn--contoso-.com", False),
     (["x;y@contoso.com"], "x\u037ey@contoso.com", False)],
)  # fmt: skip
def test_senders_are_the_mailbox_and_what_is_allowed(allowed: list[str], address: str, expected: bool) -> None:
    assert policy({"allowed": allowed}).allows(address) is expected


@pytest.mark.promise("senders-restricted")
@pytest.mark.parametrize(
    ("head", "reply"),
    [(b"From: Boss <boss@contoso.com>\r\n", NOT_ALLOWED.format("From")),
     (b"From: noreply@contoso.com\r\nSender: boss@contoso.com\r\n", NOT_ALLOWED.format("Sender")),
     (b"From: noreply@contoso.com\r\nfrom : boss@contoso.com\r\n",
      "550 5.1.20 The message has two From headers: send one"),
     *((b"X: y\r\n" + line + b": boss@contoso.com\r\nFrom: noreply@contoso.com\r\n", DISGUISED.format(name))
       for name, line in READ_BY_SOME),
     (b"X: y\r\nSubject: a\x0bFrom: boss@contoso.com\r\n", DISGUISED.format("From")),
     (b"X: y\xc2\x85 Sender : boss@contoso.com\r\nFrom: noreply@contoso.com\r\n", DISGUISED.format("Sender")),
     (b"From\x0b: boss@contoso.com\r\n", DISGUISED.format("From")),
     (b" From: boss@contoso.com\r\nTo: x\r\n", DISGUISED.format("From")),
     (b"From: root (Cron Daemon)\r\n", MALFORMED.format("From")),
     (b'From: "The App <noreply@contoso.com>"\r\n', MALFORMED.format("From")),
     (b"From: Shop, Inc <noreply@contoso.com>\r\n", MALFORMED.format("From")),
     (b"From: boss@contoso.com <noreply@contoso.com>\r\n", MALFORMED.format("From")),
     (b"From: boss@contoso.com: noreply@contoso.com;\r\n", MALFORMED.format("From")),
     (b"X: y\r\nnonsense\r\nFROM:\r\n boss@contoso.com\r\n", NOT_ALLOWED.format("From")),
     (b"X: y\r\nnonsense\r\nFrom: noreply@contoso.com\r\nSender\t: boss@contoso.com\r\n", NOT_ALLOWED.format("Sender")),
     (b"From: noreply@contoso.com\r\nnonsense\r\nFrom: noreply@contoso.com\r\n",
      "550 5.1.20 The message has two From headers: send one"),
     (b"X: y\r\nFrom\r\n : boss@contoso.com\r\n", NOT_ALLOWED.format("From")),
     (b"From: A <noreply@contoso.com>, B <noreply@contoso.com>\r\n",
      "550 5.1.20 From names several addresses: add a Sender header with one of them"),
     (b"From: A: noreply@contoso.com, noreply@contoso.com;\r\n",
      "550 5.1.20 From names several addresses: add a Sender header with one of them"),
     (b"From: Shop\r\n Team\r\n",
      '554 5.6.0 The From header is no address that can be read; write it as "Name" <user@example.com>'),
     (b"From: noreply@contoso.com\r\nSender: a@b.c, noreply@contoso.com\r\n",
      '554 5.6.0 The Sender header is no address that can be read; write it as "Name" <user@example.com>'),
     (b"Received: x\r\n" * 51, "554 5.4.6 More than 50 Received headers: the message goes round in a loop"),
     (b"X: " + b"x" * 2**20, "554 5.6.0 The message's headers do not end within 256 KiB")],
)  # fmt: skip
def test_headers_that_may_not_be_sent_are_refused_with_the_fix(head: bytes, reply: str) -> None:
    assert refusal(policy(), envelope(), head) == reply


@pytest.mark.promise("senders-restricted")
@pytest.mark.parametrize(
    "head",
    [b"", b"Subject: no author\r\n", b'From: "Boss" <noreply@contoso.com>\r\n', b"X-From: boss@contoso.com\r\n",
     b"X: y\r\n From: boss@contoso.com\r\n", b"Received: x\r\n" * 50,
     b"Resent-From: boss@contoso.com\r\n", "Subject: \xc5from: boss\r\n".encode(),
     b"Subject: a\x0b from the boss\r\n",
     b"From: NOREPLY@contoso.com <noreply@contoso.com>\r\n",
     b'From: "boss@contoso.com" <noreply@contoso.com>\r\n', b"Reply-To: anybody at all\r\n",
     b"From: A <noreply@contoso.com>, noreply@contoso.com\r\nSender: noreply@contoso.com\r\n"],
)  # fmt: skip
def test_what_may_be_sent_is_not_changed(head: bytes) -> None:
    sent = envelope()
    for settings in (policy(), policy(REWRITE)):
        assert applied(settings, sent, head) == (sent, None)


@pytest.mark.promise("senders-restricted")
@pytest.mark.parametrize(
    "body",
    [b"\r\nFrom\x0b: boss@contoso.com\r\n", b"From the boss: hello\r\n", b"text\r\n\r\nFrom\x0b: boss@contoso.com\r\n"],
)  # fmt: skip
def test_what_no_reader_takes_for_a_header_is_not_judged(body: bytes) -> None:
    message = Message(envelope(), Body(b"To: x@y.z\r\n" + body), datetime.now(UTC))
    assert policy().applied(message).author == MAILBOX


@pytest.mark.promise("rewrite-sends-as-the-mailbox")
@pytest.mark.parametrize(
    ("head", "expected"),
    [(b"A: b\r\nFrom: Boss <boss@contoso.com>\r\nC: d\r\n",
      b"A: b\r\nFrom: Boss <noreply@contoso.com>\r\nReply-To: Boss <boss@contoso.com>\r\nC: d\r\n"),
     (b"From:boss@contoso.com (The Boss)\r\n",
      b'From: "The Boss" <noreply@contoso.com>\r\nReply-To: "The Boss" <boss@contoso.com>\r\n'),
     (b"from: =?utf-8?q?M=C3=BCller?=\r\n\t<boss@contoso.com>\r\nreply-to: x@y.z\r\n",
      b"From: =?utf-8?q?M=C3=BCller?= <noreply@contoso.com>\r\nreply-to: x@y.z\r\n"),
     (b"Sender: boss@contoso.com\r\nFrom: boss@contoso.com\r\n",
      b"From: noreply@contoso.com\r\nReply-To: boss@contoso.com\r\n"),
     (b"From: noreply@contoso.com\r\nSender: boss@contoso.com\r\n",
      b"From: noreply@contoso.com\r\nSender: noreply@contoso.com\r\n"),
     (b"From: A <a@b.c>, B <d@e.f>\r\n", b"From: A <noreply@contoso.com>\r\nReply-To: A <a@b.c>, B <d@e.f>\r\n"),
     (b"From: App, Inc <app@b.c>\r\n",
      b'From: "App, Inc" <noreply@contoso.com>\r\nReply-To: "App, Inc" <app@b.c>\r\n'),
     (b"From: Ada Lovelace, VP of \"R&D\" <app@b.c>, B <d@e.f>\r\n",
      (b'From: "Ada Lovelace, VP of R&D" <noreply@contoso.com>\r\n'
       b'Reply-To: "Ada Lovelace, VP of R&D" <app@b.c>, B <d@e.f>\r\n')),
     (b"From: Shop, Inc <noreply@contoso.com>\r\n", b'From: "Shop, Inc" <noreply@contoso.com>\r\n'),
     (b"From: Shop, app@b.c\r\n", b'From: "Shop" <noreply@contoso.com>\r\nReply-To: "Shop" <app@b.c>\r\n'),
     (b"From: Shop, =?utf-8?q?M=C3=BCller?= <app@b.c>\r\n",
      (b'From: "Shop," =?utf-8?q?M=C3=BCller?= <noreply@contoso.com>\r\n'
       b'Reply-To: "Shop," =?utf-8?q?M=C3=BCller?= <app@b.c>\r\n')),
     (b"From: app@b.c (The \\(real\\) =?utf-8?q?M=C3=BCller?= \"App\")\r\n",
      (b'From: "The (real)" =?utf-8?q?M=C3=BCller?= "\\"App\\"" <noreply@contoso.com>\r\n'
       b'Reply-To: "The (real)" =?utf-8?q?M=C3=BCller?= "\\"App\\"" <app@b.c>\r\n')),
     (b"From: app@b.c (=?utf-8?q?a,b?=)\r\n",
      b'From: "=?utf-8?q?a,b?=" <noreply@contoso.com>\r\nReply-To: "=?utf-8?q?a,b?=" <app@b.c>\r\n'),
     (b"From:  Team:  <app@b.c>,\r\n d@e.f;\r\n",
      b"From: Team <noreply@contoso.com>\r\nReply-To: Team <app@b.c>, Team <d@e.f>\r\n"),
     (b"From: app@b.c <app@b.c>\r\n", b'From: "app@b.c" <noreply@contoso.com>\r\nReply-To: "app@b.c" <app@b.c>\r\n'),
     (b"From: Boss (x)  the  <boss@b.c (y)>\r\n",
      b"From: Boss the <noreply@contoso.com>\r\nReply-To: Boss the <boss@b.c>\r\n"),
     (b'From: "The App <app@b.c>"\r\n', b'From: "The App <app@b.c>" <noreply@contoso.com>\r\n'),
     (b"From: app@[IPv6:2001:db8::1]\r\n", b"From: noreply@contoso.com\r\nReply-To: app@[IPv6:2001:db8::1]\r\n"),
     (b"From: app@b.c\r\nReply-To:\r\n", b"From: noreply@contoso.com\r\nReply-To: app@b.c\r\n"),
     (b"Reply-To: \"x@y.z\"\r\nFrom: app@b.c\r\nReply-To: nobody:;\r\n",
      b"From: noreply@contoso.com\r\nReply-To: app@b.c\r\n"),
     (b"From: app@b.c\r\nReply-To:\r\nReply-To: Shop, x <x@y.z>\r\n",
      b"From: noreply@contoso.com\r\nReply-To:\r\nReply-To: Shop, x <x@y.z>\r\n"),
     (b"From: noreply@contoso.com, noreply@contoso.com\r\n",
      b"From: noreply@contoso.com, noreply@contoso.com\r\nSender: noreply@contoso.com\r\n"),
     (b"From: root (Cron Daemon)\r\n", b'From: "Cron Daemon" <noreply@contoso.com>\r\n'),
     ("From: M\u00fcller <m@b.c>\r\n".encode(),
      "From: M\u00fcller <noreply@contoso.com>\r\nReply-To: M\u00fcller <m@b.c>\r\n".encode())],
)  # fmt: skip
def test_an_author_leaves_from_to_the_mailbox_and_goes_to_reply_to(head: bytes, expected: bytes) -> None:
    sent, headers = applied(policy(REWRITE), envelope("boss@contoso.com"), head)
    assert sent.sender.address == MAILBOX
    assert headers == expected
    assert applied(policy(REWRITE), sent, expected) == (sent, None), "what is rewritten may be sent as it is"


@pytest.mark.promise("rewrite-sends-as-the-mailbox")
@given(st.binary(max_size=60) | st.text('ab@c.,:;<>()"\\ \t', max_size=40).map(str.encode))
def test_whatever_is_rewritten_may_be_sent_and_the_rest_is_untouched(value: bytes) -> None:
    value = value.replace(b"\r", b"").replace(b"\n", b"\r\n ")
    head = b"Subject: \xff one\r\nFrom: " + value + b"\r\nTo: x@y.z\r\n"
    try:
        sent, headers = applied(policy(REWRITE), envelope(), head)
    except Refused as refused:
        assert refused.reply.text.startswith("The From header is no address")  # noqa: PT017  # both ends are right
        return
    headers = headers or head
    assert headers.startswith(b"Subject: \xff one\r\nFrom:")
    assert headers.endswith(b"\r\nTo: x@y.z\r\n")
    assert applied(policy(), sent, headers) == (sent, None)


@pytest.mark.promise("recipients-restricted")
@pytest.mark.parametrize(
    ("address", "taken"),
    [("a@contoso.com", True), ("a@CONTOSO.com", True), ("a@sub.contoso.com", False), ("a@evil.example", False),
     ('"a@contoso.com"@evil.example', False), ("postmaster", False), ("a@contoso.com.", True),
     ("a@xn--bcher-kva.example", True), ("a@B\u00dcCHER.example", True), ("a@bu\u0308cher.example", True),
     ("a@fabri\u212aam.com", False)],
)  # fmt: skip
def test_recipients_are_of_the_allowed_domains(address: str, taken: bool) -> None:
    settings = policy(recipients={"allowedDomains": ["contoso.com", "fabrikam.com", "b\u00fccher.example"]})
    sent = envelope(MAILBOX, Recipient(address=address))
    if taken:
        assert applied(settings, sent, b"") == (sent, None)
    else:
        assert refusal(settings, sent) == (
            f"550 5.7.1 Mail may not go to <{shortened(address)}>: add its domain to the mailer's "
            "spec.recipients.allowedDomains"
        )


@pytest.mark.promise("redirect-replaces-every-recipient")
def test_a_redirected_message_goes_to_no_other_recipient_and_says_where_it_would_have_gone() -> None:
    to = tuple(
        Recipient(address=address, parameters=("NOTIFY=NEVER", f"ORCPT=rfc822;{address}"))
        for address in ("a@example.com", '"b, c"@example.com', "gr\u00fc\u00dfe@example.com")
    )
    settings = policy(recipients={"redirectTo": "staging@contoso.com"})
    sent, headers = applied(settings, envelope(MAILBOX, *to), b"To: a@example.com\r\n")
    assert sent.recipients == (Recipient(address="staging@contoso.com", parameters=("NOTIFY=NEVER",)),)
    assert headers is not None
    assert headers.decode() == (
        'X-Original-To: <a@example.com>,\r\n <"b, c"@example.com>,\r\n <gr\u00fc\u00dfe@example.com>\r\n'
        "To: a@example.com\r\n"
    )


@pytest.mark.promise("senders-restricted")
def test_a_null_reverse_path_becomes_the_mailbox_that_wants_no_reports_or_stays() -> None:
    to = Recipient(address="x@y.z", parameters=("NOTIFY=FAILURE", "ORCPT=rfc822;x@y.z"))
    sent, headers = applied(policy(), envelope("", to), b"")
    assert (sent.sender.address, sent.recipients[0].parameters, headers) == (
        MAILBOX,
        ("ORCPT=rfc822;x@y.z", "NOTIFY=NEVER"),
        None,
    )
    kept = envelope("", to)
    assert applied(policy({"nullReversePath": "Keep"}), kept, b"") == (kept, None)
