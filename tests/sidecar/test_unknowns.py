"""Where Office 365's behaviour is unknown: what the app sees in each of an axis's values."""

import contextlib

import pytest
from support.clocked_sidecar import clocked
from support.emulator_client import EmulatorClient
from support.emulator_dialogue import Dialogue, authenticated
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running
from support.waiting import eventually

TEXT = b"Subject: x\r\n\r\nbody\r\n"


def mail(sidecar: Sidecar, sender: str = "noreply@contoso.com") -> str:
    with Wire(sidecar.port) as app:
        app.begin(sender)
        return app.deliver(TEXT)


def submitting(emulator: EmulatorClient, dialogues: list[Dialogue]) -> None:
    """Each has a message whose submission runs until it is released."""
    emulator.script("body", stall=True, times=len(dialogues))
    for dialogue in dialogues:
        dialogue.send(f"MAIL FROM:<{emulator.mailbox}>", "RCPT TO:<other@b.example>", "DATA")
        assert [dialogue.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
        dialogue.send_bytes(b"Subject: other\r\n\r\n.\r\n")
    emulator.events("stalled", atleast=len(dialogues))


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize("at", ["body", "auth"])
@pytest.mark.parametrize("slots", ["connection", "submission"])
def test_while_others_have_the_slots_nothing_is_said_to_be_sent_and_then_it_is_sent_once(
    emulator: EmulatorClient, directory: MailerDirectory, slots: str, at: str
) -> None:
    emulator.settings(slots=slots, crowdedAt=at)
    directory.write_for(emulator, delivery={"confirmWithin": "2s"})
    with clocked(directory.path) as clock:
        with contextlib.ExitStack() as stack:
            others = [stack.enter_context(authenticated(emulator)) for _ in range(3)]
            submitting(emulator, others)
            assert mail(clock.sidecar).startswith("451 4.")
            assert emulator.figures()["crowded"] >= 1
            assert emulator.messages() == []
            emulator.release()
            assert [other.reply()[:3] for other in others] == ["250"] * 3
        eventually(lambda: emulator.counters()["openNow"] <= 1)
        clock.skip(600)
        assert mail(clock.sidecar).startswith("250 ")
    assert [message["recipients"] for message in emulator.messages()][3:] == [["a@example.com"]]


@pytest.mark.promise("truth-when-exchange-fails")
def test_sessions_that_exchange_ends_after_a_while_lose_no_message_and_double_none(
    emulator: EmulatorClient, sidecar: Sidecar
) -> None:
    emulator.settings(sessionSeconds=1)
    for number in (1, 2):
        assert mail(sidecar).startswith("250 ")
        emulator.events("closed", atleast=number)
    emulator.settings(sessionSeconds=0)  # 421 to the first command
    assert mail(sidecar).startswith("451 4.4.1 ")
    emulator.settings(sessionSeconds=None)
    eventually(lambda: mail(sidecar).startswith("250 "))
    assert len(emulator.messages()) == 3


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize("value", ["kept", "cut"])
def test_a_token_that_ends_in_a_session_loses_no_message_and_doubles_none(
    emulator: EmulatorClient, directory: MailerDirectory, value: str
) -> None:
    emulator.settings(expiredSession=value)
    emulator.script("body", stall=True)
    with running(directory.path) as sidecar:
        directory.write_for(emulator, token=emulator.issue_token(lifetime=5))
        with Wire(sidecar.port) as app:
            app.begin()
            assert app.ask("DATA").startswith("354")
            app.send(TEXT + b".\r\n")
            emulator.events("stalled")
            ends = emulator.tokens()[-1]["expires"]
            eventually(lambda: emulator.control("GET", "/statistics")["at"] > ends, within=15)
            emulator.release()
            assert app.reply().startswith("250 "), "a submission that runs is ended"
        directory.write_for(emulator)
        assert mail(sidecar).startswith("250 ")
    assert len(emulator.messages()) == 2


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize(("value", "word", "expected"), [
    ("taken", "Keep", "250 2.0.0 Office 365 has it"),
    ("refused", "Keep", "550 5.7.60 SMTP; Client does not have permissions to send as this sender"),
    ("taken", "Mailbox", "250 2.0.0 Office 365 has it"),
    ("refused", "Mailbox", "250 2.0.0 Office 365 has it"),
])  # fmt: skip
def test_an_empty_reverse_path_is_exchanges_to_refuse_or_never_shown_to_it(
    emulator: EmulatorClient, directory: MailerDirectory, value: str, word: str, expected: str
) -> None:
    emulator.settings(nullSender=value)
    directory.write_for(emulator, senders={"nullReversePath": word})
    with running(directory.path) as sidecar:
        assert mail(sidecar, "").startswith(expected)
    assert len(emulator.messages()) == expected.startswith("250")


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize("value", ["taken", "refused"])
def test_whether_the_announced_bdat_is_true_makes_no_difference(
    emulator: EmulatorClient, sidecar: Sidecar, value: str
) -> None:
    emulator.settings(bdat=value)
    for _ in range(3):
        assert mail(sidecar).startswith("250 ")
    assert [message["chunked"] for message in emulator.messages()] == [False] * 3
    assert "502" not in emulator.counters()["replies"]


@pytest.mark.promise("truth-when-exchange-fails")
def test_a_refused_mail_leaves_the_next_message_of_the_connection_whole_in_the_harsh_profile(
    emulator: EmulatorClient, sidecar: Sidecar
) -> None:
    emulator.settings(profile="harsh")
    assert mail(sidecar).startswith("250 ")
    emulator.script("mail", reply="550 5.7.1 not you")
    assert mail(sidecar).startswith("550 5.7.1 not you [")
    assert emulator.counters()["replies"]["503"] == 2, "RCPT and DATA, which were in the same write"
    assert mail(sidecar).startswith("250 ")
    assert emulator.counters()["connections"] == 1
    assert len(emulator.messages()) == 2


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize("pace", [0, 2])
def test_a_reply_that_is_late_is_waited_for(emulator: EmulatorClient, directory: MailerDirectory, pace: int) -> None:
    emulator.settings(pace=pace, paceSeconds=2)
    directory.write_for(emulator, delivery={"confirmWithin": "1s"})
    with running(directory.path) as sidecar:
        for _ in range(3):
            assert mail(sidecar).startswith("250 "), "it is out: a 451 could mean two mails"
    assert len(emulator.messages()) == 3
