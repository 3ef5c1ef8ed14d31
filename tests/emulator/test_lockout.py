"""A mailbox whose errors are continuous: locked for all of its mail, for a while."""

import pytest
from support.emulator_client import EmulatorClient
from support.emulator_dialogue import Dialogue, authenticated


def submit(dialogue: Dialogue, *, sender: str = "noreply@contoso.com", to: str = "a@b.example") -> str:
    """The verdict on one message, or the reply that refused its recipient."""
    assert dialogue.ask("MAIL FROM:<noreply@contoso.com>").startswith("250 ")
    reply = dialogue.ask(f"RCPT TO:<{to}>")
    if not reply.startswith("250 "):
        dialogue.ask("RSET")
        return reply
    assert dialogue.ask("DATA").startswith("354 ")
    return dialogue.ask(f"From: {sender}\r\n\r\nhello\r\n.")


def few(emulator: EmulatorClient) -> None:
    emulator.settings(lockAfter={"errors": 3, "within": 600, "seconds": 3600})


SEND_AS = "550 5.2.252 Sender throttled due to continuous send as denied errors."


def test_send_as_errors_lock_the_mailbox_for_its_good_mail_too(emulator: EmulatorClient) -> None:
    few(emulator)
    with authenticated(emulator) as dialogue:
        for _ in range(3):
            assert submit(dialogue, sender="boss@contoso.com").startswith("554 5.2.252 SendAsDenied")
        assert submit(dialogue) == SEND_AS
        (locked,) = emulator.events("locked")
        assert (locked["mailbox"], locked["reply"]) == (emulator.mailbox, "throttled-send-as")
        assert emulator.figures()["locked"] == {"reply": "throttled-send-as", "until": locked["until"]}
    for offset, reply in ((3590, SEND_AS), (3601, "250 ")):
        emulator.settings(clockOffset=offset)
        with authenticated(emulator) as dialogue:
            assert submit(dialogue).startswith(reply)
    assert emulator.figures()["locked"] is None


def test_errors_count_only_within_their_time(emulator: EmulatorClient) -> None:
    few(emulator)
    for offset in (0, 500, 1000, 1500):
        emulator.settings(clockOffset=offset)
        with authenticated(emulator) as dialogue:
            assert submit(dialogue, sender="boss@contoso.com").startswith("554 5.2.252 SendAsDenied")
    assert emulator.events("locked", wait=0) == []


@pytest.mark.parametrize(
    ("step", "named", "lock"),
    [
        ("body", "mailbox-full", "550 5.2.251 "),
        ("body", "no-permission-to-send-as", "550 5.2.252 "),
        ("rcpt", "recipient-unknown", "550 5.2.255 "),
        ("body", "recipient-access-denied", "550 5.2.255 "),
    ],
)
def test_scripted_errors_count_wherever_they_are_said(
    emulator: EmulatorClient, step: str, named: str, lock: str
) -> None:
    few(emulator)
    emulator.script(step, named=named, times=3)
    with authenticated(emulator) as dialogue:
        for _ in range(3):
            assert submit(dialogue).startswith("55")
        assert submit(dialogue).startswith(lock)


def test_each_kind_of_error_is_counted_by_itself(emulator: EmulatorClient) -> None:
    few(emulator)
    emulator.script("rcpt", named="recipient-unknown", match="gone@*", times=None)
    with authenticated(emulator) as dialogue:
        for _ in range(2):
            submit(dialogue, sender="boss@contoso.com")
            submit(dialogue, to="gone@b.example")
        assert submit(dialogue).startswith("250 ")


def test_without_a_number_of_errors_nothing_locks(emulator: EmulatorClient) -> None:
    emulator.settings(lockAfter={"errors": 0})
    with authenticated(emulator) as dialogue:
        for _ in range(30):
            submit(dialogue, sender="boss@contoso.com")
        assert submit(dialogue).startswith("250 ")


def test_another_mailbox_is_not_locked(emulator: EmulatorClient) -> None:
    few(emulator)
    emulator.control("PATCH", "/mailboxes/other@contoso.com", {"applications": [emulator.client_id]})
    with authenticated(emulator) as dialogue:
        for _ in range(4):
            submit(dialogue, sender="boss@contoso.com")
    figures = emulator.statistics()
    assert [name for name, each in figures.items() if each["locked"]] == [emulator.mailbox]
