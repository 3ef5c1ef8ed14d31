"""Where the real service's behaviour is unknown: each axis in both of its values, and the two profiles."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from support.emulator_client import EmulatorClient
from support.emulator_dialogue import Dialogue, authenticated, secured, xoauth2

from o365mailer_emulator.client import ControlRefused

HEADER = "From: noreply@contoso.com\r\nSubject: a test\r\nX-Client: {client}\r\n\r\nhello\r\n.\r\n"


def begin_data(dialogue: Dialogue, *, sender: str = "noreply@contoso.com", client: str = "one") -> None:
    """A message whose verdict is not read yet."""
    dialogue.send(f"MAIL FROM:<{sender}>", "RCPT TO:<a@b.example>", "DATA")
    assert [dialogue.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
    dialogue.send_bytes(HEADER.format(client=client).encode())


@contextlib.contextmanager
def several(emulator: EmulatorClient, number: int) -> Iterator[list[Dialogue]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(authenticated(emulator)) for _ in range(number)]


def auth_again(emulator: EmulatorClient) -> str:
    with secured(emulator) as dialogue:
        return dialogue.ask(f"AUTH XOAUTH2 {xoauth2(emulator.mailbox, emulator.issue_token())}")


@pytest.mark.promise("truth-when-exchange-fails")
def test_a_slot_that_is_an_open_connection_is_missed_at_the_end_of_data(emulator: EmulatorClient) -> None:
    emulator.settings(slots="connection", crowdedAt="body")
    with several(emulator, 4) as dialogues:
        begin_data(dialogues[3])
        assert dialogues[3].reply().startswith("432 4.3.2 Concurrent connections limit exceeded. ")
    assert emulator.figures()["crowded"] == 1


@pytest.mark.promise("truth-when-exchange-fails")
def test_a_slot_that_is_an_open_connection_can_be_missed_at_auth(emulator: EmulatorClient) -> None:
    emulator.settings(slots="connection", crowdedAt="auth")
    with several(emulator, 3) as dialogues:
        assert auth_again(emulator).startswith("432 4.3.2 Concurrent connections limit exceeded. ")
        dialogues[0].ask("QUIT")
        emulator.events("closed", atleast=2)
        assert auth_again(emulator).startswith("235 ")
    assert emulator.figures()["crowded"] == 1


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize("at", ["body", "auth"])
def test_a_slot_that_is_a_submission_is_taken_only_while_one_runs(emulator: EmulatorClient, at: str) -> None:
    emulator.settings(slots="submission", crowdedAt=at)
    emulator.script("body", stall=True, times=3)
    with several(emulator, 5) as dialogues:
        for dialogue in dialogues[:3]:
            begin_data(dialogue)
        emulator.events("stalled", atleast=3)
        assert auth_again(emulator).startswith("432 " if at == "auth" else "235 ")
        begin_data(dialogues[3])
        assert dialogues[3].reply().startswith("432 ")
        emulator.release()
        assert [dialogue.reply()[:3] for dialogue in dialogues[:3]] == ["250"] * 3
        for dialogue in dialogues[2:]:
            begin_data(dialogue)
            assert dialogue.reply().startswith("250 "), "five are open, none submits"
    figures = emulator.figures()
    assert (figures["submissions"], figures["inProgressPeak"], figures["inProgress"]) == (6, 3, 0)
    assert figures["crowded"] == (2 if at == "auth" else 1)


@pytest.mark.promise("truth-when-exchange-fails")
def test_a_submission_takes_its_seconds_and_holds_its_slot_for_them(emulator: EmulatorClient) -> None:
    emulator.settings(submissionSeconds=0.3)
    with authenticated(emulator) as dialogue:
        begin_data(dialogue, client="pod-7")
        assert dialogue.reply().startswith("250 ")
    figures = emulator.figures(by="x-client")
    assert figures["slotBusySeconds"] >= 0.29
    assert figures["lastEnded"] - figures["firstBegan"] == pytest.approx(figures["slotBusySeconds"])
    assert figures["slots"] == 3
    assert [len(times) for times in figures["clients"].values()] == [1]
    assert list(figures["clients"]) == ["pod-7"]


@pytest.mark.promise("truth-when-exchange-fails")
def test_a_submission_that_was_begun_is_ended_for_a_client_that_left(emulator: EmulatorClient) -> None:
    emulator.settings(submissionSeconds=0.3)
    with authenticated(emulator) as dialogue:
        begin_data(dialogue)
        dialogue.socket.shutdown(socket.SHUT_RDWR)
    assert len(emulator.messages(atleast=1)) == 1
    emulator.events("closed")
    assert emulator.figures()["inProgress"] == 0


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize(("pace", "late"), [(2, True), (0, False)])
def test_over_its_pace_a_mailboxs_reply_is_late(emulator: EmulatorClient, pace: int, late: bool) -> None:
    emulator.settings(pace=pace, paceSeconds=1.5)
    with authenticated(emulator) as dialogue:
        began = time.monotonic()
        for _ in range(3):
            begin_data(dialogue)
            assert dialogue.reply().startswith("250 ")
    assert (time.monotonic() - began > 1.4) is late


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize(("seconds", "reply"), [(600, "421 4.4.1 Connection timed out. "), (1200, "250 2.0.0 OK")])
def test_a_session_ends_after_a_while_although_it_is_busy(emulator: EmulatorClient, seconds: float, reply: str) -> None:
    emulator.settings(sessionSeconds=seconds)
    with authenticated(emulator) as dialogue:
        assert dialogue.ask("NOOP").startswith("250 ")
        emulator.settings(clockOffset=700)
        assert dialogue.ask("NOOP").startswith("250 ")  # the session was waiting for it
        assert dialogue.ask("NOOP").startswith(reply)


@pytest.mark.promise("truth-when-exchange-fails")
def test_a_session_that_lasts_too_long_is_told_how_long(emulator: EmulatorClient) -> None:
    emulator.settings(sessionSeconds=1)
    with authenticated(emulator) as dialogue:
        assert dialogue.reply() == "421 4.4.1 Connection timed out. Total session duration: 00:00:01"
        assert dialogue.closed()


def test_a_mailboxs_pace_is_30_a_minute(emulator: EmulatorClient) -> None:
    emulator.control("POST", "/reset")  # as the emulator starts, not as tests have it
    settings = emulator.control("GET", "/config")["settings"]
    assert (settings["pace"], settings["paceSeconds"]) == (30, 60)


@contextlib.contextmanager
def soon_expired(emulator: EmulatorClient) -> Iterator[Dialogue]:
    """Authenticated with a token that has four seconds left."""
    with secured(emulator) as dialogue:
        credentials = xoauth2(emulator.mailbox, emulator.issue_token(lifetime=4))
        assert dialogue.ask(f"AUTH XOAUTH2 {credentials}").startswith("235 ")
        yield dialogue


@pytest.mark.promise("truth-when-exchange-fails")
def test_a_session_is_kept_when_its_token_ends(emulator: EmulatorClient) -> None:
    emulator.settings(expiredSession="kept")
    with soon_expired(emulator) as dialogue:
        left = emulator.tokens()[-1]["expires"] - time.time()
        assert emulator.events("closed", wait=max(left, 0) + 0.2) == []
        begin_data(dialogue)
        assert dialogue.reply().startswith("250 ")


@pytest.mark.promise("truth-when-exchange-fails")
def test_a_session_is_cut_when_its_token_ends_but_not_its_submission(emulator: EmulatorClient) -> None:
    emulator.settings(expiredSession="cut")
    emulator.script("body", stall=True)
    with soon_expired(emulator) as busy, soon_expired(emulator) as idle:
        begin_data(busy)
        assert idle.closed()
        emulator.release()
        assert busy.reply().startswith("250 ")
        assert busy.closed()


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize(("value", "code"), [("taken", "250"), ("refused", "550")])
def test_the_null_reverse_path_is_taken_or_refused(emulator: EmulatorClient, value: str, code: str) -> None:
    emulator.settings(nullSender=value)
    with authenticated(emulator) as dialogue:
        assert dialogue.ask("MAIL FROM:<>").startswith(code)
        dialogue.ask("RSET")
        assert dialogue.ask("MAIL FROM:<noreply@contoso.com>").startswith("250 ")


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize(("value", "codes"), [("taken", ["250"] * 3), ("refused", ["250", "250", "502"])])
def test_chunking_that_is_announced_is_true_or_not(emulator: EmulatorClient, value: str, codes: list[str]) -> None:
    emulator.settings(bdat=value)
    with authenticated(emulator) as dialogue:
        dialogue.send_bytes(b"MAIL FROM:<noreply@contoso.com>\r\nRCPT TO:<a@b.example>\r\nBDAT 6 LAST\r\nQUIT\r\n")
        assert [dialogue.reply()[:3] for _ in range(3)] == codes
        assert dialogue.ask("NOOP").startswith("250"), "the chunk was read, QUIT never heard"


@pytest.mark.promise("truth-when-exchange-fails")
def test_in_the_harsh_profile_a_chunk_after_a_refused_mail_is_read_and_answered_503(emulator: EmulatorClient) -> None:
    emulator.settings(profile="harsh")
    with authenticated(emulator) as dialogue:
        dialogue.send_bytes(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
        assert [dialogue.reply()[:3] for _ in range(4)] == ["550", "503", "503", "250"]


@pytest.mark.promise("truth-when-exchange-fails")
def test_a_profile_sets_every_axis_and_an_axis_named_by_itself_stays(emulator: EmulatorClient) -> None:
    emulator.settings(nullSender="taken", profile="harsh")
    shown = emulator.control("GET", "/behaviour")
    default, harsh = shown["profiles"]["default"], shown["profiles"]["harsh"]
    assert shown["behaviour"] == harsh | {"nullSender": "taken"}
    assert all(default[axis] != harsh[axis] for axis in default), "an axis that does not differ is in no profile"
    emulator.settings(nullSender=None)
    assert emulator.control("GET", "/behaviour")["behaviour"] == harsh
    emulator.reset()
    assert emulator.control("GET", "/behaviour")["behaviour"] == default


@pytest.mark.promise("truth-when-exchange-fails")
@pytest.mark.parametrize(
    "wrong",
    [
        {"profile": "gentle"},
        {"slots": "mailbox"},
        {"pace": -1},
        {"submissionSeconds": -1},
        {"lockAfter": {"errors": -1}},
    ],
)
def test_a_value_that_does_not_exist_is_refused(emulator: EmulatorClient, wrong: dict[str, object]) -> None:
    with pytest.raises(ControlRefused, match=r"the request: .*\$"):
        emulator.settings(**wrong)


def test_each_client_has_its_deliveries_and_the_slots_their_time(emulator: EmulatorClient) -> None:
    emulator.settings(slots="submission", submissionSeconds=0.2)

    def deliver(client: str) -> None:
        with authenticated(emulator) as dialogue:
            for _ in range(2):
                begin_data(dialogue, client=client)
                assert dialogue.reply().startswith("250 ")

    threads = [threading.Thread(target=deliver, args=(f"pod-{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures = emulator.figures(by="X-Client")
    assert {client: len(times) for client, times in figures["clients"].items()} == {f"pod-{n}": 2 for n in range(3)}
    assert figures["slotBusySeconds"] >= 6 * 0.19
    assert figures["delivered"] == figures["submissions"] == 6
