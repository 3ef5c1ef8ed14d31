"""What Exchange's answers do to the messages that come next: the real process against the emulator."""

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

TEXT = b"From: noreply@contoso.com\r\nSubject: x\r\n\r\nbody\r\n"
AS_BOSS = TEXT.replace(b"noreply@", b"boss@")


def send(
    sidecar: Sidecar,
    content: bytes = TEXT,
    *,
    to: tuple[str, ...] = ("a@example.com",),
    sender: str = "noreply@contoso.com",
) -> str:
    """One message in a session of its own; the final reply."""
    with Wire(sidecar.port) as app:
        app.begin(sender, *to)
        return app.deliver(content)


def submitted(emulator: EmulatorClient) -> int:
    """MAIL commands that Exchange has seen."""
    return int(emulator.counters()["commands"].get("MAIL", 0))


@pytest.mark.promise("mailbox-shared-fairly")
@pytest.mark.parametrize("step", ["auth", "mail", "body"])
def test_an_app_that_waits_hears_nothing_of_a_432(emulator: EmulatorClient, sidecar: Sidecar, step: str) -> None:
    emulator.script(step, named="concurrent")
    assert sidecar.metric("o365mailer_concurrency_window") >= 1
    assert send(sidecar).startswith("250")
    assert len(emulator.messages()) == 1
    assert 0 < sidecar.metric("o365mailer_concurrency_window") < 1
    assert sidecar.events("upstream_away") == []


@pytest.mark.promise("mailbox-shared-fairly")
def test_a_432_that_lasts_is_451_and_nothing_was_sent(emulator: EmulatorClient, directory: MailerDirectory) -> None:
    emulator.script("body", named="concurrent", times=None)
    directory.write_for(emulator, delivery={"confirmWithin": "1s"})
    with running(directory.path) as sidecar:
        assert send(sidecar).startswith("451 4.")
    assert emulator.messages() == []


@pytest.mark.promise("mailbox-shared-fairly")
def test_a_throttled_mailbox_is_left_as_soon_as_nothing_is_left_to_send(
    emulator: EmulatorClient, sidecar: Sidecar
) -> None:
    emulator.script("body", named="concurrent")
    assert send(sidecar).startswith("250")
    emulator.events("closed", atleast=2, wait=4)
    assert emulator.counters()["openNow"] == 0


@pytest.mark.promise("mailbox-not-locked")
@pytest.mark.parametrize("named", ["throttled-send-as", "bad-outbound-sender", "tenant-threshold", "submission-quota",
                                   "daily-recipients", "mailbox-full"])  # fmt: skip
def test_a_mailbox_that_is_locked_or_full_is_left_alone(emulator: EmulatorClient, sidecar: Sidecar, named: str) -> None:
    emulator.script("body", named=named)
    first = send(sidecar)
    assert first.startswith("451 4.")
    replies = [send(sidecar) for _ in range(3)]
    for reply in replies:
        assert reply.startswith("451 4.")
        assert "Nothing is sent now: Office 365 said 55" in reply
        assert " asked again in " in reply
    assert submitted(emulator) == 1
    rests = sidecar.event("mailbox_paused")
    page = sidecar.get("/metrics")[1]
    assert f'reason="{rests["reason"]}"}} 1' in page


@pytest.mark.promise("mailbox-not-locked")
def test_a_lock_in_a_reply_to_auth_pauses_sending_too(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    emulator.script("auth", named="throttled-recipients")
    assert "Nothing is sent now: Office 365 said 550 5.2.255" in send(sidecar)
    assert "Nothing is sent now: Office 365 said 550 5.2.255" in send(sidecar)
    assert emulator.counters()["connections"] == 1


@pytest.mark.promise("mailbox-not-locked")
def test_a_few_send_as_refusals_are_enough_and_other_mail_goes_on(
    emulator: EmulatorClient, directory: MailerDirectory
) -> None:
    directory.write_for(emulator, senders={"allowed": ["boss@contoso.com"]})
    with running(directory.path) as sidecar:
        answers = [send(sidecar, AS_BOSS) for _ in range(5)]
        assert all(answer.startswith("554 5.2.252 SendAsDenied") for answer in answers)
        assert ["remembered" in answer for answer in answers] == [False] * 3 + [True] * 2
        assert max(len(answer) for answer in answers) <= 510
        assert submitted(emulator) == 3
        assert send(sidecar).startswith("250")
        assert sidecar.event("refusal_cached", reason="send-as")


@pytest.mark.promise("mailbox-not-locked")
@pytest.mark.parametrize("step", ["rcpt", "data", "body"])
@pytest.mark.parametrize("to", [("gone@example.com",), ("gone@example.com", "dead@example.com")], ids=["one", "two"])
def test_a_recipient_that_does_not_exist_is_asked_for_a_few_times_wherever_exchange_says_so(
    emulator: EmulatorClient, sidecar: Sidecar, step: str, to: tuple[str, ...]
) -> None:
    emulator.script(step, named="recipient-unknown", times=None)
    answers = [send(sidecar, to=to) for _ in range(6)]
    assert all(answer.startswith("550 5.1.10 ") for answer in answers)
    assert submitted(emulator) == 3
    assert ["remembered" in answer for answer in answers] == [False] * 3 + [True] * 3
    emulator.control("DELETE", "/script")
    assert send(sidecar, to=("here@example.com",)).startswith("250")
    assert "remembered" in send(sidecar, to=to), "another's mail is no reason to ask again"


@pytest.mark.promise("mailbox-not-locked")
@pytest.mark.parametrize("step", ["mail", "data", "body"])
@pytest.mark.parametrize("reply", ["554 5.2.252 SendAsDenied; no", "550 5.7.60 SMTP; no permissions to send as this"])
def test_a_sender_that_is_refused_is_asked_for_a_few_times_wherever_exchange_says_so(
    emulator: EmulatorClient, directory: MailerDirectory, step: str, reply: str
) -> None:
    emulator.script(step, reply=reply, times=None)
    directory.write_for(emulator, senders={"allowed": ["boss@contoso.com"]})
    with running(directory.path) as sidecar:
        answers = [send(sidecar, AS_BOSS, sender="boss@contoso.com") for _ in range(6)]
        assert all(answer.startswith(reply) for answer in answers)
        assert submitted(emulator) == 3
        assert sidecar.event("refusal_cached", reason="send-as")


@pytest.mark.promise("mailbox-not-locked")
def test_a_refusal_of_mail_speaks_of_the_sender(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    emulator.script("mail", reply="550 5.7.1 you may not send", times=None)
    answers = [send(sidecar, to=(f"{number}@example.com",)) for number in range(6)]
    assert all(answer.startswith("550 5.7.1 you may not send") for answer in answers)
    assert submitted(emulator) == 3
    assert sidecar.event("refusal_cached", reason="send-as")


@pytest.mark.promise("mailbox-not-locked")
def test_a_recipient_that_was_accepted_is_not_counted_against_any_more(
    emulator: EmulatorClient, sidecar: Sidecar
) -> None:
    for _ in range(3):
        emulator.script("body", named="recipient-unknown", times=2)
        for _ in range(2):
            assert send(sidecar).startswith("550 5.1.10 ")
        assert send(sidecar).startswith("250")
    assert submitted(emulator) == 9


@pytest.mark.promise("mailbox-not-locked")
def test_a_right_that_is_missing_is_told_with_the_remedy_and_not_asked_for_again_and_again(
    emulator: EmulatorClient, sidecar: Sidecar
) -> None:
    emulator.script("body", named="mailbox-logon", times=None)
    replies = [send(sidecar) for _ in range(5)]
    for reply in replies:
        assert reply.startswith("451 4.7.0 ")
        assert "give the app its right on the mailbox" in reply
    assert submitted(emulator) == 3


@pytest.mark.promise("mailbox-shared-fairly")
def test_messages_a_minute_pace_one_sidecar_and_the_reply_says_so(
    emulator: EmulatorClient, directory: MailerDirectory
) -> None:
    directory.write_for(emulator, limits={"messagesPerMinute": 3}, delivery={"confirmWithin": "5s"})
    with running(directory.path) as sidecar:
        assert send(sidecar).startswith("250")
        reply = send(sidecar)
    assert reply.startswith(
        "451 4.3.2 The mailer lets 3 messages a minute leave here, and these are taken; try again in "
    )
    assert len(emulator.messages()) == 1
