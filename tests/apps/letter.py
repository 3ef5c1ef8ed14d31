"""The mail of a scenario, as files that the programs read; and what it says once it has arrived."""

from __future__ import annotations

import base64
import email
import email.message
import email.policy
import hashlib
import random
from email.header import Header
from functools import lru_cache
from pathlib import Path

from apps.scenarios import Scenario

SENDER = "noreply@contoso.com"
SUBJECT = "Grüße, № 5"
BOUNDARY = "a-boundary-that-is-in-no-part"
PART = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"


@lru_cache(maxsize=1)
def attachment_bytes(size: int) -> bytes:
    """An attachment: the same in every run, with every byte value in it."""
    return random.Random(5).randbytes(size)


def digest(size: int) -> str:
    """The SHA-256 of that attachment."""
    return hashlib.sha256(attachment_bytes(size)).hexdigest()


def message(scenario: Scenario) -> str:
    """A whole message with LF line ends, for what does not build one itself. It has neither Date nor Message-ID."""
    head = f"From: {SENDER}\nTo: {', '.join(scenario.recipients)}\nSubject: {Header(SUBJECT, 'utf-8').encode()}\n"
    head += "MIME-Version: 1.0\n"
    if not scenario.attachment:
        return f"{head}{PART}\n{scenario.text}"
    encoded = base64.encodebytes(attachment_bytes(scenario.attachment)).decode()
    attached = (
        "Content-Type: application/octet-stream; name=all.bin\nContent-Transfer-Encoding: base64\n"
        "Content-Disposition: attachment; filename=all.bin\n"
    )
    parts = (f"{PART}\n{scenario.text}", f"{attached}\n{encoded}")
    body = "".join(f"--{BOUNDARY}\n{part}\n" for part in parts) + f"--{BOUNDARY}--\n"
    return f"{head}Content-Type: multipart/mixed; boundary={BOUNDARY}\n\n{body}"


def write(scenario: Scenario, folder: Path) -> dict[str, str]:
    """Write the files, and return the environment that names them."""
    (folder / "text").write_text(scenario.text, encoding="utf-8")
    (folder / "message").write_text(message(scenario), encoding="utf-8")
    if scenario.attachment:
        (folder / "all.bin").write_bytes(attachment_bytes(scenario.attachment))
    return {
        "TEXT": str(folder / "text"),
        "MESSAGE": str(folder / "message"),
        "ATTACHMENT": str(folder / "all.bin") if scenario.attachment else "",
        "SENDER": SENDER,
        "RECIPIENTS": ",".join(scenario.recipients),
        "SUBJECT": SUBJECT,
    }


def says(content: bytes) -> tuple[str, str, list[str]]:
    """Subject, text with LF line ends, and the SHA-256 of each attachment, of a message as it arrived."""
    parsed = email.message_from_bytes(content, policy=email.policy.default)
    texts: list[str] = []
    attached: list[str] = []
    for part in parsed.walk():
        payload = part.get_payload(decode=True)
        if part.get_content_type() == "text/plain" and isinstance(payload, bytes):
            texts.append(payload.decode(part.get_content_charset("utf-8")).replace("\r\n", "\n"))
        elif isinstance(payload, bytes):
            attached.append(hashlib.sha256(payload).hexdigest())
    return str(parsed["Subject"]), "".join(texts), attached
