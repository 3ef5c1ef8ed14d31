"""What Exchange's replies mean for a message and for its app."""

import pytest

from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.reply import Reply, Trace, shortened, upstream_reply, upstream_trace
from o365mailer_sidecar.smtp.transaction import Answers
from o365mailer_sidecar.upstream.classify import classify, classify_all, told
from o365mailer_sidecar.upstream.result import concluded

OK = Reply(250, "2.1.0", "OK")


def envelope(*recipients: str) -> Envelope:
    """An envelope to these recipients."""
    to = tuple(Recipient(address=address) for address in recipients)
    return Envelope(queue_id="Q", sender=Sender(address="a@b.c"), recipients=to)


def verdict(to: Envelope, answers: Answers) -> Reply:
    """The reply for the app."""
    return concluded(to, to, classify_all(to, answers)).reply


@pytest.mark.promise("all-recipients-or-none")
def test_the_permanent_refusal_is_named_before_the_temporary_one() -> None:
    answers = Answers(sender=OK, recipients=(OK, Reply(450, "4.2.1", "later"), Reply(550, "5.1.1", "unknown")))
    expected = Reply(550, "5.1.1", "<z@b.c>: unknown; nothing was sent to the other 2")
    assert verdict(envelope("x@b.c", "y@b.c", "z@b.c"), answers) == expected


def test_a_recipient_whose_refusal_heals_is_451_and_named() -> None:
    answers = Answers(sender=OK, recipients=(Reply(550, "5.7.233", "limit"),))
    assert verdict(envelope("x@b.c"), answers) == Reply(
        451, "4.7.233", "Office 365 said 550 5.7.233 <x@b.c>: limit; wait, or send less"
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [("554 5.2.2 mailbox full", Reply(451, "4.2.2", "Office 365 said 554 5.2.2 mailbox full; empty the mailbox: every "
      "mail is kept in its Sent Items")),
     ("430 4.2.0 STOREDRV; mailbox logon failure", Reply(451, "4.7.0", "Office 365 said 430 4.2.0 STOREDRV; mailbox "
      "logon failure; give the app its right on the mailbox; a new one takes up to two hours")),
     ("451 4.7.0 Temporary server error", Reply(451, "4.7.0", "Office 365 said 451 4.7.0 Temporary server error; "
      "try again later")),
     ("550 5.1.10 not found", Reply(550, "5.1.10", "not found"))],
)  # fmt: skip
def test_the_reply_names_the_remedy_where_a_person_can_help(said: str, expected: Reply) -> None:
    assert told(classify(upstream_reply(int(said[:3]), said[4:]))) == expected


@pytest.mark.parametrize(
    ("answers", "code"),
    [(Answers(sender=Reply(550, "5.7.1", "no")), 550),
     (Answers(sender=Reply(421, "4.3.2", "no")), 451),
     (Answers(sender=OK, recipients=(OK,), start=Reply(554, "5.5.1", "no")), 554),
     (Answers(sender=OK, recipients=(OK,), start=Reply(250, "", "what")), 451),
     (Answers(sender=OK, recipients=(OK,), start=Reply(354, "", ""), final=OK), 250),
     (Answers(sender=OK, recipients=(OK,), start=Reply(354, "", ""), final=Reply(432, "4.3.2", "limit")), 451)],
)  # fmt: skip
def test_250_needs_the_final_250(answers: Answers, code: int) -> None:
    assert verdict(envelope("x@b.c"), answers).code == code


def test_a_reply_of_several_lines_is_one_line_and_short() -> None:
    reply = upstream_reply(554, "5.2.0 one\n5.2.0 two\x07\n5.2.0 " + "x" * 500)
    assert (reply.code, reply.enhanced) == (554, "5.2.0")
    assert reply.text.startswith("one two xxx")
    assert len(reply.text) == 200
    assert reply.line("ID").endswith(b"... [ID]\r\n")


def test_diagnostics_are_cut() -> None:
    assert shortened("Cannot send [BeginDiagnosticData]secret internals") == "Cannot send"


def test_a_reply_that_names_a_recipient_stays_within_the_length_of_a_reply_line() -> None:
    message = envelope(*(f"{'a' * 1900}{number}@example.com" for number in range(1000)))
    lines = {}
    for enhanced in ("5.1.10", "5.7.236"):
        refusal = upstream_reply(550, f"{enhanced} " + "x" * 3000)
        answers = Answers(sender=Reply(250, "", ""), recipients=(refusal,))
        lines[enhanced] = verdict(message, answers).line("2990A37EA2F3")
    assert lines["5.1.10"].startswith(b"550 5.1.10 <aaaa")
    assert lines["5.1.10"].endswith(b"nothing was sent to the other 999 [2990A37EA2F3]\r\n")
    assert lines["5.7.236"].startswith(b"451 4.7.236 Office 365 said 550 5.7.236 <aaaa")
    assert lines["5.7.236"].endswith(b"send from a domain of your own, not onmicrosoft.com [2990A37EA2F3]\r\n")
    assert max(len(line) for line in lines.values()) <= 512


STAMP = "[AM0PR04CA0123.eurprd04.prod.outlook.com 2026-11-23T11:12:20.123Z 08DE2A6028D26C22]"


@pytest.mark.parametrize(
    ("text", "trace"),
    [("OK <x1@AM0PR04MB1.eurprd04.prod.outlook.com> [Hostname=AM0PR04MB1.eurprd04.prod.outlook.com]",
      Trace("x1@AM0PR04MB1.eurprd04.prod.outlook.com", "AM0PR04MB1.eurprd04.prod.outlook.com")),
     ("OK <x1@host> [InternalId=4711, Hostname=AM0PR04MB1]", Trace("x1@host", "AM0PR04MB1")),
     ("Concurrent connections limit exceeded. [Hostname=AM0PR04MB1]", Trace("", "AM0PR04MB1")),
     (f"Authentication unsuccessful {STAMP}",
      Trace("08DE2A6028D26C22", "AM0PR04CA0123.eurprd04.prod.outlook.com")),
     ("OK <x1@host>", Trace("", "")),
     ("not found: <a@example.com> [Hostname=with a space]", Trace("", "")),
     ("[Hostname=AM0PR04MB1] said so", Trace("", "")),
     ("", Trace("", ""))],
)  # fmt: skip
def test_exchanges_own_id_and_host_are_read_from_its_reply(text: str, trace: Trace) -> None:
    assert upstream_trace(text) == trace
    assert upstream_trace(upstream_reply(250, "2.0.0 " + text).text) == trace


def test_the_server_is_named_after_a_text_that_is_cut() -> None:
    dump = (
        "SendAsDenied; [BeginDiagnosticData]" + "secret internals " * 100 + "[EndDiagnosticData] [Hostname=AM0PR04MB1]"
    )
    assert shortened(dump) == "SendAsDenied; [Hostname=AM0PR04MB1]"
    long = shortened("x" * 500 + " " + STAMP)
    assert len(long) == 200
    assert long.endswith("x... " + STAMP)
    assert shortened(STAMP) == STAMP
