"""The relay and a mailbox that continuous errors really lock: it does not cause the lock, and it outlasts one.

Hours pass in seconds: both clocks, the relay's and the emulator's, are put forward.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from support.clocked_sidecar import ClockedSidecar, clocked
from support.emulator_client import EmulatorClient
from support.emulator_dialogue import authenticated
from support.sidecar_process import MailerDirectory, Wire

DAY = 86_400
MINUTE = 60
LOCK = {"errors": 10, "within": 6 * 3600}
SELF, BOSS = "noreply@contoso.com", "boss@contoso.com"


@dataclass
class World:
    """A relay, Office 365, and the time since the beginning in seconds."""

    clock: ClockedSidecar
    emulator: EmulatorClient
    seconds: int = 0

    def pass_time(self, seconds: int) -> None:
        """Put both clocks forward."""
        self.seconds += seconds
        self.emulator.settings(clockOffset=self.seconds)
        self.clock.skip(seconds)

    def send(self, *, sender: str = SELF, to: str = "a@example.com") -> str:
        """What the app is told."""
        with Wire(self.clock.sidecar.port) as app:
            app.begin(sender, to)
            return app.deliver(f"From: {sender}\r\nSubject: x\r\n\r\nbody\r\n".encode())

    @property
    def asked(self) -> int:
        """Messages that Office 365 has seen."""
        return int(self.emulator.counters()["commands"].get("MAIL", 0))

    @property
    def locks(self) -> list[str]:
        """The locks so far, by the name of their reply."""
        return [event["reply"] for event in self.emulator.events("locked", wait=0)]


@contextmanager
def world(emulator: EmulatorClient, directory: MailerDirectory) -> Iterator[World]:
    token = emulator.issue_token(lifetime=2 * DAY)
    directory.write_for(emulator, token=token, senders={"allowed": [BOSS]})
    with clocked(directory.path) as clock:
        yield World(clock, emulator)


@pytest.mark.promise("mailbox-not-locked")
@pytest.mark.parametrize("wrong", ["sender", "recipient"])
def test_an_app_that_never_gives_up_does_not_lock_the_mailbox(
    emulator: EmulatorClient, directory: MailerDirectory, wrong: str
) -> None:
    emulator.settings(lockAfter=LOCK)
    emulator.script("rcpt", named="recipient-unknown", match="gone@example.com", times=None)
    with world(emulator, directory) as it:
        for _ in range(36):
            reply = it.send(sender=BOSS) if wrong == "sender" else it.send(to="gone@example.com")
            assert reply.startswith("55")
            it.pass_time(10 * MINUTE)
        assert 4 < it.asked < 10  # it asks again now and then, because the right or the address may be there by now
        assert it.locks == []
        assert it.send().startswith("250")


def test_the_same_app_without_the_relay_locks_the_mailbox(emulator: EmulatorClient) -> None:
    """The control of the test above."""
    emulator.settings(lockAfter=LOCK)
    with authenticated(emulator) as dialogue:
        for _ in range(10):
            assert [dialogue.ask(f"MAIL FROM:<{SELF}>")[:3], dialogue.ask("RCPT TO:<a@b.example>")[:3]] == [
                "250",
                "250",
            ]
            dialogue.ask("DATA")
            assert dialogue.ask(f"From: {BOSS}\r\n\r\nx\r\n.").startswith("554 5.2.252 SendAsDenied")
    assert [event["reply"] for event in emulator.events("locked")] == ["throttled-send-as"]


@pytest.mark.promise("mailbox-not-locked")
def test_a_full_mailbox_is_asked_too_seldom_to_lock(emulator: EmulatorClient, directory: MailerDirectory) -> None:
    emulator.settings(lockAfter={"errors": 6, "within": 3600})
    emulator.script("body", named="mailbox-full", times=None)
    with world(emulator, directory) as it:
        for _ in range(36):
            assert it.send().startswith("451 ")
            it.pass_time(10 * MINUTE)
        assert it.asked > 4
        assert it.locks == []
        emulator.control("DELETE", "/script")  # a person has made room
        assert 0 < minutes_until_accepted(it) <= 60


@pytest.mark.promise("mailbox-not-locked")
def test_a_lock_is_outlasted_with_a_few_probes_and_then_mail_goes_on(
    emulator: EmulatorClient, directory: MailerDirectory
) -> None:
    emulator.settings(lockAfter={"errors": 3, "within": 600, "seconds": 90 * MINUTE})
    emulator.script("rcpt", named="recipient-unknown", match="gone*", times=None)
    with world(emulator, directory) as it:
        for number in range(3):  # different ones: the relay cannot know that the next is wrong too
            assert it.send(to=f"gone{number}@example.com").startswith("550 5.1.10 ")
        assert it.locks == ["throttled-recipients"]
        assert "Office 365 said 550 5.2.255 Sender throttled" in it.send()
        before = it.asked
        assert "Nothing is sent now: Office 365 said 550 5.2.255" in it.send()
        assert 60 <= minutes_until_accepted(it) <= 6 * 60
        assert it.asked - before <= 2, "a probe that was refused, perhaps, and the one that was accepted"
        assert it.send().startswith("250")
        assert it.locks == ["throttled-recipients"]
        assert it.clock.sidecar.event("mailbox_resumed")


def minutes_until_accepted(it: World) -> int:
    """An app sends every ten minutes: for how long it is told 451."""
    for minutes in range(0, 8 * 60, 10):
        reply = it.send()
        if reply.startswith("250"):
            return minutes
        assert reply.startswith("451 ")
        it.pass_time(10 * MINUTE)
    raise AssertionError("nothing was accepted for eight hours")
