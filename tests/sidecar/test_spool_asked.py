"""A spooled message can expire only after Exchange was asked about it; waiting alone ends no message.

`maxAge` is over at once in these tests, so that any attempt that counts ends a message.
"""

import itertools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.emulator_client import EmulatorClient
from support.scratch_submission import Peer, ScratchHost
from support.sidecar_process import MailerDirectory, Sidecar, document
from support.spooling import dead, history, nowhere, number, queued, spooling, submit
from support.waiting import eventually

OLD = {"spool": {"maxAge": "1ms"}}
DEBUG = ("--log-level", "debug")


def without_token(emulator: EmulatorClient, directory: MailerDirectory, **settings: Any) -> None:
    """A mailer that has its settings, and no token yet: everything is queued and nothing is attempted."""
    directory.write(
        mailer_json=json.dumps(document(emulator.smtp_host, emulator.smtp_port, emulator.mailbox) | settings),
        ca_crt=Path(emulator.ca_file).read_text(),
    )


@pytest.mark.promise("spool-expiry")
def test_mail_that_waits_for_its_pace_is_never_a_dead_letter(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "limits": {"messagesPerMinute": 120},
        "delivery": OLD | {"confirmWithin": "100ms"},
    }
    without_token(emulator, directory, **settings)
    with spooling(directory, tmp_path) as sidecar:
        waiting = [number(submit(sidecar)) for _ in range(5)]
        directory.write_for(emulator, **settings)
        emulator.messages(atleast=2, wait=30)
        direct = number(submit(sidecar))
        sidecar.event("message", nth=6, outcome="accepted", within=60)
    assert {line["queue_id"] for line in sidecar.events("message")} == {*waiting, direct}
    assert (queued(tmp_path), dead(tmp_path)) == ([], [])


def no_token(emulator: EmulatorClient, directory: MailerDirectory) -> str:
    """The mailer directory has no token yet."""
    without_token(emulator, directory, delivery=OLD)
    return ""


def no_host(_: EmulatorClient, directory: MailerDirectory) -> str:
    """Every connection is refused."""
    nowhere(directory, delivery=OLD)
    return "away"


def no_admission(emulator: EmulatorClient, directory: MailerDirectory) -> str:
    """AUTH is answered with a temporary failure."""
    emulator.script("auth", reply="454 4.7.0 Temporary authentication failure", times=None)
    directory.write_for(emulator, delivery=OLD)
    return "away"


def crowded_at_auth(emulator: EmulatorClient, directory: MailerDirectory) -> str:
    """All connections of the mailbox are taken."""
    emulator.script("auth", reply="432 4.3.2 Concurrent connections limit exceeded", times=None)
    directory.write_for(emulator, delivery=OLD | {"confirmWithin": "100ms"})
    return "mailbox-held"


@pytest.mark.promise("spool-expiry")
@pytest.mark.parametrize("obstacle", [no_token, no_host, no_admission, crowded_at_auth])
def test_what_exchange_was_not_asked_about_does_not_expire(
    emulator: EmulatorClient,
    directory: MailerDirectory,
    tmp_path: Path,
    obstacle: Callable[[EmulatorClient, MailerDirectory], str],
) -> None:
    reason = obstacle(emulator, directory)
    with spooling(directory, tmp_path, stays=True, arguments=(*DEBUG, "--grace", "1s")) as sidecar:
        waiting = sorted(number(submit(sidecar)) for _ in range(2))
        if reason:  # the scheduler has tried it too
            sidecar.event("attempt", reason=reason, within=30)
    assert (queued(tmp_path), dead(tmp_path)) == (waiting, [])
    assert sidecar.events("message", outcome="dead") == []


@pytest.mark.promise("spool-expiry")
def test_what_waits_while_the_mailbox_paused_does_not_expire(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator, delivery=OLD)
    emulator.script("body", reply="554 5.2.2 mailbox full", times=1)
    with spooling(directory, tmp_path, stays=True) as sidecar:
        asked, waits = number(submit(sidecar)), number(submit(sidecar))
        sidecar.event("message", queue_id=asked, outcome="dead", reason="expired")
    assert (queued(tmp_path), dead(tmp_path)) == ([waits], [asked])


@pytest.mark.promise("spool-expiry")
def test_recipients_that_policy_allows_do_not_expire_with_those_that_it_refuses(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    without_token(emulator, directory, delivery=OLD)
    with spooling(directory, tmp_path) as sidecar:  # SIGTERM tries it once more
        both = number(submit(sidecar, "a@example.com", "b@elsewhere.example"))
        directory.write_for(emulator, delivery=OLD, recipients={"allowedDomains": ["example.com"]})
        eventually(lambda: any("b@elsewhere.example" in line.get("refused", {}) for line in history(tmp_path, both)))
    (message,) = emulator.messages()
    assert message["recipients"] == ["a@example.com"]
    assert dead(tmp_path) == [both]


def taking(arrived: list[str]) -> Callable[[Peer], None]:
    """A host that takes everything, and notes the subjects."""

    def serve(peer: Peer) -> None:
        peer.authenticate()
        while line := peer.line():
            if line[:4].upper() == b"DATA":
                peer.say(b"354 go\r\n")
                arrived.append("old" if b"Subject: old" in peer.message() else "new")
                peer.say(b"250 2.0.0 OK\r\n")
            elif line[:4].upper() == b"QUIT":
                return
            else:
                peer.say(b"250 2.1.0 ok\r\n")

    return serve


def keeps_sending(sidecar: Sidecar, enough: threading.Event) -> None:
    """An app that has always something to send."""
    while not enough.is_set():
        submit(sidecar, content=b"Subject: new\r\n\r\nx\r\n")


@pytest.mark.promise("mailbox-shared-fairly")
def test_apps_that_keep_sending_do_not_take_every_moment_from_the_spool(
    directory: MailerDirectory, tmp_path: Path
) -> None:
    arrived: list[str] = []
    settings: dict[str, Any] = {"limits": {"messagesPerMinute": 120}, "delivery": {"confirmWithin": "1500ms"}}
    with ScratchHost(taking(arrived)) as host:
        directory.write(
            mailer_json=json.dumps(document("127.0.0.1", host.port) | settings), ca_crt=host.authority.cert_pem.bytes()
        )
        with spooling(directory, tmp_path, stays=True, arguments=("--grace", "1s")) as sidecar:
            old = [number(submit(sidecar, content=b"Subject: old\r\n\r\nx\r\n")) for _ in range(4)]
            enough = threading.Event()
            apps = [threading.Thread(target=keeps_sending, args=(sidecar, enough)) for _ in range(3)]
            host.describe(directory, **settings)
            for app in apps:
                app.start()
            try:
                for queue_id in old:
                    sidecar.event("message", queue_id=queue_id, outcome="accepted", within=60)
            finally:
                enough.set()
            for app in apps:
                app.join()
    places = [place for place, what in enumerate(arrived) if what == "old"]
    between = [later - earlier - 1 for earlier, later in itertools.pairwise(places)]
    # Each of the three apps waits for one moment at most; twice as many allows for messages that overtake each other.
    assert len(places) == 4, arrived
    assert max(between) <= 6, arrived
    assert sum(between) > 0, "apps had their share"
