"""A mailer that is given another mailbox: what Exchange has said of the one before is nothing to it."""

from pathlib import Path

import pytest
from support.scratch_submission import Peer, ScratchHost
from support.sidecar_process import MailerDirectory
from support.spooling import queued, spooling, submit
from support.waiting import eventually


def locked(peer: Peer) -> None:
    """Throttled."""
    peer.authenticate()
    peer.line()
    peer.say(b"550 5.2.252 Sender throttled due to continuous send as denied errors\r\n")
    peer.line()


def takes(peer: Peer) -> None:
    """Everything."""
    peer.authenticate()
    while verb := peer.line()[:4].upper():
        if verb == b"DATA":
            peer.say(b"354 go\r\n")
            peer.message()
        peer.say(b"250 2.0.0 OK\r\n")


@pytest.mark.promise("mailbox-not-locked")
def test_mail_goes_out_from_another_mailbox_while_the_first_is_locked(
    directory: MailerDirectory, tmp_path: Path
) -> None:
    with ScratchHost(locked, takes) as host:
        host.describe(directory)
        with spooling(directory, tmp_path) as sidecar:
            assert submit(sidecar).startswith("250 2.0.0 Queued here")
            sidecar.event("mailbox_paused")
            senders = {"allowed": ["noreply@contoso.com"]}
            host.describe(directory, mailbox="second@contoso.com", senders=senders, revision=2)
            reply = submit(sidecar)
            assert reply.startswith("250 2.0.0 Office 365 has it"), reply
            eventually(lambda: not queued(tmp_path))
