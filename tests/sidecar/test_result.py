"""What an attempt came to, for each recipient."""

import pytest

from o365mailer_contract.replies import Outcome
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.reply import Reply
from o365mailer_sidecar.smtp.transaction import Answers
from o365mailer_sidecar.upstream.classify import classify_all
from o365mailer_sidecar.upstream.result import Result
from o365mailer_sidecar.upstream.result import concluded as concluded_from

OK = Reply(250, "2.1.0", "OK")
HAS_IT = Reply(250, "2.0.0", "OK <x@y> [Hostname=z]")
LATER = Reply(450, "4.2.1", "Try later")
UNKNOWN = Reply(550, "5.1.10", "Recipient not found")
FULL = Reply(554, "5.2.2", "mailbox full; STOREDRV.Submission.Exception:QuotaExceededException")
BLOCKED = Reply(550, "5.7.501", "Access denied, spam abuse detected")
A, D, R, H = Outcome.ACCEPTED, Outcome.DEFERRED, Outcome.REFUSED, Outcome.QUOTA


def envelope(count: int) -> Envelope:
    """To so many."""
    to = tuple(Recipient(address=f"r{number}@example.com") for number in range(count))
    return Envelope(queue_id="Q", sender=Sender(address="a@b.c"), recipients=to)


def concluded(to: Envelope, sent: Envelope, answers: Answers) -> Result:
    """The result of these replies to `sent`."""
    return concluded_from(to, sent, classify_all(sent, answers))


@pytest.mark.promise("accepted-means-kept")
@pytest.mark.parametrize("start", [HAS_IT, Reply(251, "2.1.5", "no"), Reply(354, "", "go")])
def test_a_positive_reply_to_data_accepts_no_message(start: Reply) -> None:
    to = envelope(2)
    result = concluded(to, to, Answers(sender=OK, recipients=(OK, OK), start=start))
    assert (result.outcome, result.reason, result.reply.code) == (D, "no-smtp", 451)
    final = Answers(sender=OK, recipients=(OK, OK), start=Reply(354, "", "go"), final=HAS_IT)
    assert concluded(to, to, final).outcome is A, "the control"


@pytest.mark.promise("all-recipients-or-none")
@pytest.mark.parametrize(
    ("recipients", "final", "expected"),
    [((OK, OK), HAS_IT, [A, A]),
     ((OK, LATER, UNKNOWN), HAS_IT, [A, D, R]),
     ((OK, LATER, UNKNOWN), Reply(451, "4.7.0", "busy"), [D, D, R]),
     ((OK, UNKNOWN), FULL, [H, R]),
     ((OK, FULL, UNKNOWN), HAS_IT, [A, D, R]),
     ((FULL,), None, [D]),
     ((OK, UNKNOWN), Reply(251, "2.1.5", "no verdict on a message"), [D, R]),
     ((OK, UNKNOWN), None, [D, R]),
     ((UNKNOWN, UNKNOWN), None, [R, R])],
)  # fmt: skip
def test_each_recipient_has_the_reply_that_decides_it(
    recipients: tuple[Reply, ...], final: Reply | None, expected: list[Outcome]
) -> None:
    to = envelope(len(recipients))
    result = concluded(to, to, Answers(sender=OK, recipients=recipients, final=final))
    assert [fate.outcome for fate in result.of(to)] == expected
    assert [fate.address for fate in result.of(to)] == [recipient.address for recipient in to.recipients]


def test_a_refusal_of_the_sender_is_every_recipients() -> None:
    to = envelope(2)
    result = concluded(to, to, Answers(sender=Reply(550, "5.7.60", "not allowed to send as this sender")))
    assert (result.outcome, result.reason) == (R, "send-as")
    assert [fate.outcome for fate in result.of(to)] == [R, R]


def test_a_redirected_messages_fate_is_that_of_its_one_recipient() -> None:
    to = envelope(3)
    result = concluded(to, envelope(1), Answers(sender=OK, recipients=(OK,), final=HAS_IT))
    assert [fate.outcome for fate in result.of(to)] == [A, A, A]


def test_a_full_mailbox_of_a_recipient_is_an_attempt_of_the_message() -> None:
    to = envelope(1)
    own = {said: concluded(to, to, Answers(sender=OK, recipients=(said,))).own for said in (FULL, BLOCKED)}
    assert own == {FULL: True, BLOCKED: False}


@pytest.mark.parametrize(
    ("final", "own"), [(LATER, True), (FULL, False), (Reply(430, "4.2.0", "logon failure"), False)]
)
def test_what_is_said_of_the_mailbox_is_no_attempt_of_the_message(final: Reply, own: bool) -> None:
    to = envelope(1)
    assert concluded(to, to, Answers(sender=OK, recipients=(OK,), final=final)).own is own
