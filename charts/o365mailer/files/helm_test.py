"""What the pod of `helm test` does: it mails through the sidecar that the webhook added, as an app would.

The sidecar's image runs it (templates/test-job.yaml). It uses sockets alone, because that image has no more of the
standard library than a relay needs.
"""

import os
import socket
import sys

CONNECT_SECONDS = 10.0
REPLY_SECONDS = 60.0
"""The relay answers within `delivery.confirmWithin`, which a mailer may raise to 30 s."""
UNKNOWN = "test@helm-test.invalid"
"""Sender and recipient of a mail that goes nowhere (RFC 2606)."""
NO_MAILER = "451 4.3.5 "
"""docs/sidecar.md: the relay waits for its mailer."""


class TestFailed(Exception):
    """The installation does not do what it should; the text says what to look at."""

    __test__ = False
    """No test class for pytest."""


class Session:
    """One SMTP session with the relay."""

    def __init__(self, port: int) -> None:
        try:
            self.connection = socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS)
        except OSError as error:
            raise TestFailed(
                f"no relay on 127.0.0.1:{port} ({error.strerror or error}). The webhook did not add the sidecar to "
                "this pod. With webhook.failurePolicy Ignore, see whether the webhook runs. With "
                "webhook.namespaceSelector, see whether it selects this namespace"
            ) from None
        self.connection.settimeout(REPLY_SECONDS)
        self.lines = self.connection.makefile("rb")

    def reply(self) -> str:
        """The last line of the next reply, printed."""
        while True:
            try:
                line = self.lines.readline().decode(errors="replace").rstrip()
            except OSError as error:
                raise TestFailed(f"the relay does not answer ({error}): read its log") from None
            if not line:
                raise TestFailed("the relay closed the connection: read its log")
            if line[3:4] != "-":
                print(f"relay: {line}", flush=True)
                return line

    def command(self, text: str) -> str:
        """Sends a line; its reply."""
        print(f"test:  {text}", flush=True)
        self.connection.sendall(f"{text}\r\n".encode())
        return self.reply()

    def mail(self, sender: str, recipient: str, text: str) -> str:
        """Sends one mail; the first reply that refuses it, or the last one."""
        reply = ""
        for command in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"):
            reply = self.command(command)
            if reply[:1] not in "23":
                return reply
        self.connection.sendall(f"{text}\r\n.\r\n".encode())
        return self.reply()


def message(sender: str, recipient: str) -> str:
    """A mail that tells its reader where it comes from. The relay adds the date."""
    header = f"From: {sender}\r\nTo: {recipient}\r\nSubject: O365 Mailer: helm test"
    return f"{header}\r\n\r\nA helm test of O365 Mailer sent this mail through Office 365. No reply is needed."


def run(port: int, sender: str, recipient: str) -> str:
    """One session; what it has shown. Without a sender there is no mailer, and the relay has to say so.

    Raises:
        TestFailed: the relay is not there or answers wrongly, or Office 365 refused the mail.
    """
    session = Session(port)
    greeting = session.reply()
    if not greeting.startswith("220 "):
        raise TestFailed(f"port {port} answers {greeting!r} instead of an SMTP greeting: is it the relay?")
    session.command("EHLO helm-test")
    if sender:
        reply = session.mail(sender, recipient, message(sender, recipient))
        if not reply.startswith("250 "):
            raise TestFailed(f"the mail was refused: {reply}. docs/sidecar.md has the remedy for each reply")
        return f"Office 365 accepted a mail from {sender} to {recipient}"
    reply = session.mail(UNKNOWN, UNKNOWN, message(UNKNOWN, UNKNOWN))
    if not reply.startswith(NO_MAILER):
        raise TestFailed(f"without a mailer the relay must answer {NO_MAILER.strip()}, and answered {reply!r}")
    return "the webhook added the relay, and the relay answers (set test.mailer to send a mail with it)"


def main() -> int:
    """Exit status 0 if all is well."""
    environment = os.environ
    try:
        port = int(environment.get("PORT", "25"))
        shown = run(port, environment.get("SENDER", ""), environment.get("RECIPIENT", ""))
    except TestFailed as failed:
        print(f"FAILED: {failed}", flush=True)
        return 1
    print(f"passed: {shown}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
