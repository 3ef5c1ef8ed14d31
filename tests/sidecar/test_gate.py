"""What Exchange's answers do to the messages that come next: the real process against the emulator."""

import pytest
from emulator_client import EmulatorClient
from sidecar_process import MailerDirectory, Sidecar, Wire, running

TEXT = b"From: noreply@contoso.com\r\nSubject: x\r\n\r\nbody\r\n"
AS_BOSS = TEXT.replace(b"noreply@", b"boss@")


def send(
    sidecar: Sidecar, content: bytes = TEXT, *, to: str = "a@example.com", sender: str = "noreply@contoso.com"
) -> str:
    """One message in a session of its own; the final reply."""
    with Wire(sidecar.port) as app:
        app.begin(sender, to)
        return app.deliver(content)


def submitted(emulator: EmulatorClient) -> int:
    """MAIL commands that Exchange has seen."""
    return int(emulator.counters()["commands"].get("MAIL", 0))


@pytest.mark.promise("R46")
@pytest.mark.parametrize("step", ["auth", "mail", "body"])
def test_an_app_that_waits_hears_nothing_of_a_432(emulator: EmulatorClient, sidecar: Sidecar, step: str) -> None:
    emulator.script(step, named="concurrent")
    assert sidecar.metric("o365mailer_concurrency_window") >= 1
    assert send(sidecar).startswith("250")
    assert len(emulator.messages()) == 1
    assert 0 < sidecar.metric("o365mailer_concurrency_window") < 1
    assert sidecar.events("upstream_away") == []


@pytest.mark.promise("R46")
def test_a_432_that_lasts_is_451_and_nothing_was_sent(emulator: EmulatorClient, directory: MailerDirectory) -> None:
    emulator.script("body", named="concurrent", times=None)
    directory.write_for(emulator, delivery={"confirmWithin": "1s"})
    with running(directory.path) as sidecar:
        assert send(sidecar).startswith("451 4.")
    assert emulator.messages() == []


@pytest.mark.promise("R46")
def test_a_crowded_mailbox_is_left_as_soon_as_nothing_is_left_to_send(
    emulator: EmulatorClient, sidecar: Sidecar
) -> None:
    emulator.script("body", named="concurrent")
    assert send(sidecar).startswith("250")
    emulator.events("closed", atleast=2, wait=4)
    assert emulator.counters()["openNow"] == 0


@pytest.mark.promise("R48")
@pytest.mark.parametrize("named", ["throttled-send-as", "bad-outbound-sender", "tenant-threshold", "submission-quota",
                                   "daily-recipients", "mailbox-full"])  # fmt: skip
def test_a_mailbox_that_is_shut_or_full_is_left_alone(emulator: EmulatorClient, sidecar: Sidecar, named: str) -> None:
    emulator.script("body", named=named)
    first = send(sidecar)
    assert first.startswith("451 4.")
    replies = [send(sidecar) for _ in range(3)]
    for reply in replies:
        assert reply.startswith("451 4.")
        assert "Nothing is sent now: Office 365 said 55" in reply
        assert " asked again in " in reply
    assert submitted(emulator) == 1
    (rests,) = sidecar.events("mailbox_rests")
    page = sidecar.get("/metrics")[1]
    assert f'o365mailer_breaker_open{{reason="{rests["reason"]}"}} 1' in page


@pytest.mark.promise("R48")
def test_a_lock_that_is_said_to_auth_shuts_the_mailbox_too(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    emulator.script("auth", named="throttled-recipients")
    assert "Nothing is sent now: Office 365 said 550 5.2.255" in send(sidecar)
    assert "Nothing is sent now: Office 365 said 550 5.2.255" in send(sidecar)
    assert emulator.counters()["connections"] == 1


@pytest.mark.promise("R9")
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
        assert len(sidecar.events("breaker_opened", reason="send-as")) == 1


@pytest.mark.promise("R9")
def test_a_recipient_that_does_not_exist_is_asked_for_a_few_times(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    emulator.script("rcpt", match="gone@example.com", named="recipient-unknown", times=None)
    answers = [send(sidecar, to="gone@example.com") for _ in range(4)]
    assert all(answer.startswith("550 5.1.10 ") for answer in answers)
    assert submitted(emulator) == 3
    assert "remembered" in answers[-1]
    assert send(sidecar, to="here@example.com").startswith("250")


@pytest.mark.promise("R49")
def test_a_right_that_is_missing_is_told_with_the_remedy_and_not_asked_for_again_and_again(
    emulator: EmulatorClient, sidecar: Sidecar
) -> None:
    emulator.script("body", named="mailbox-logon", times=None)
    replies = [send(sidecar) for _ in range(5)]
    for reply in replies:
        assert reply.startswith("451 4.7.0 ")
        assert "give the app its right on the mailbox" in reply
    assert submitted(emulator) == 3


@pytest.mark.promise("R47")
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
