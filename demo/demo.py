"""`make demo`: the Office 365 emulator, `o365mailer run`, and three mails, with a new token for each.

Exit status 0 only if all three mails are in the mailbox, each sent with another token. With KEEP=1 in the environment,
everything keeps running until Ctrl-C.
"""

import contextlib
import json
import os
import signal
import smtplib
import string
import sys
import tempfile
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

from program import Failed, Program

from o365mailer_emulator.client import Control

TOKEN_LIFETIME: Final = 6
"""Seconds. Short enough to watch the rotation, long enough for a busy machine to use a token."""
KEPT_LIFETIME: Final = 3600
MAILS: Final = 3
PATIENCE: Final = 60.0
"""Seconds to wait for each step."""
SECRET: Final = "emulator-client-secret-not-a-secret"
"""The emulator's built-in client secret. It opens nothing else."""


class Emulator:
    """The Office 365 emulator and its control API."""

    def __init__(self, folder: Path) -> None:
        state, self.ca = folder / "state.json", folder / "ca.crt"
        command = [sys.executable, "-m", "o365mailer_emulator.main", "--state-file", str(state)]
        command += ["--ca-file", str(self.ca)]
        command += [part for name in ("entra", "smtp", "control") for part in (f"--{name}", "127.0.0.1:0")]
        self.program = Program("the emulator", command, log=folder / "emulator.log")
        try:
            self.program.hear("Office 365 emulator", within=PATIENCE)
        except BaseException:
            self.program.stop()
            raise
        self.state: dict[str, Any] = json.loads(state.read_text())
        self.control = Control(self.state["controlUrl"])
        self.page = f"{self.state['controlUrl']}/"


def start_relay(folder: Path, emulator: Emulator) -> Program:
    """Start `o365mailer run` with the mailer of mailer.yaml and its Secrets as files."""
    template = string.Template((Path(__file__).parent / "mailer.yaml").read_text(encoding="utf-8"))
    state = emulator.state
    mailer = folder / "mailer.yaml"
    mailer.write_text(
        template.substitute(
            tenant=state["tenant"],
            client=state["clientId"],
            mailbox=state["mailbox"],
            authority=state["authority"],
            smtp_host=state["smtp"]["host"],
            smtp_port=state["smtp"]["port"],
        ),
        encoding="utf-8",
    )
    for name, content in {"demo/secret": SECRET.encode(), "emulator/ca.crt": emulator.ca.read_bytes()}.items():
        file = folder / "secrets" / name
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    command = [sys.executable, "-m", "o365mailer_cli.main", "run", "-f", str(mailer)]
    command += ["--secrets-dir", str(folder / "secrets"), "--listen", "127.0.0.1:0", "--no-spool"]
    return Program("o365mailer run", command, log=folder / "relay.log")


def send(port: int, number: int, mailbox: str) -> None:
    """Send one mail as an app does: plain SMTP, no TLS, no login. After a 451 try again, as mail programs do."""
    mail = EmailMessage()
    mail["From"], mail["To"] = mailbox, "you@example.com"
    mail["Subject"] = f"Mail {number} of the demo"
    mail.set_content(f"Hello from mail {number}.\n")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as smtp:
                smtp.send_message(mail)
        except smtplib.SMTPResponseException as refused:
            if refused.smtp_code >= 500 or time.monotonic() > deadline:
                raise Failed(f"mail {number} was refused: {refused}") from None
            time.sleep(0.2)
        else:
            return


def show(emulator: Emulator) -> None:
    """Print the mailbox. Raises Failed unless all mails are there, each with its own token."""
    messages = emulator.control.messages(content=False)
    print(f"\n  In the mailbox {emulator.state['mailbox']}:")
    for message in messages:
        subject = next((value for name, value in message["headers"] if name.lower() == "subject"), "")
        print(f"    {subject}   to {', '.join(message['recipients'])}   token {message['token'][:8]}")
    if len(messages) != MAILS:
        raise Failed(f"{len(messages)} of {MAILS} mails arrived")
    if len({message["token"] for message in messages}) != MAILS:
        raise Failed("two mails were sent with the same token: no rotation happened between them")


def play(folder: Path, stack: contextlib.ExitStack) -> tuple[Emulator, int]:
    """Run the demo. Raises Failed."""
    print("O365 Mailer: three mails through an emulated Office 365. Nothing leaves this machine.\n")
    emulator = Emulator(folder)
    stack.callback(emulator.program.stop)
    emulator.control.settings(tokenLifetime=TOKEN_LIFETIME)
    print(f"  Office 365 (emulated)   {emulator.page}   shows mailboxes, messages and tokens")
    relay = start_relay(folder, emulator)
    stack.callback(relay.stop)
    address = relay.hear("listening on ", within=PATIENCE).removeprefix("listening on ").partition(": ")[0]
    port = int(address.rpartition(":")[2])
    print(f"  o365mailer run          {address}          takes mail without TLS and without a login\n")
    for number in range(1, MAILS + 1):
        relay.hear("token ", within=PATIENCE)
        print("  a token is there" if number == 1 else "  the token was replaced; the relay kept running", flush=True)
        send(port, number, emulator.state["mailbox"])
        relay.forget()  # wait for a token that comes after this mail
        print(
            f"  mail {number} sent" + (f"; tokens live {TOKEN_LIFETIME} s here …" if number < MAILS else ""), flush=True
        )
    show(emulator)
    return emulator, port


def keep(emulator: Emulator, port: int) -> None:
    """Keep everything running until Ctrl-C."""
    emulator.control.settings(tokenLifetime=KEPT_LIFETIME)
    with contextlib.suppress(KeyboardInterrupt):  # as soon as the line that names it can be read
        print(f"\n  Still running. The page: {emulator.page}")
        print(f"  Send your own as {emulator.state['mailbox']} to 127.0.0.1:{port}; Ctrl-C ends it.", flush=True)
        signal.pause()
    print()


def main() -> int:
    """The exit status: 0 if the demo showed everything that it promises."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="o365mailer-demo-") as folder, contextlib.ExitStack() as stack:
        try:
            emulator, port = play(Path(folder), stack)
            print(f"\n  All {MAILS} mails arrived, each with another token, in {time.monotonic() - began:.0f} s.")
            if os.environ.get("KEEP") == "1":
                keep(emulator, port)
            else:
                print("  To look around: make demo KEEP=1")
        except (Failed, OSError, smtplib.SMTPException) as error:
            print(f"\n  The demo failed: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\n  Interrupted.", file=sys.stderr)
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
