"""What the Job of `o365mailer send-test` runs: it sends one mail to the relay of its pod, as an app does.

Its text is the Job's command, so it stands alone and imports nothing but the smallest parts of the standard library: it
runs in the relay's image, or in any other that has Python. Each attempt is one line of JSON on standard output.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself takes a while to import
    from typing import BinaryIO

PAUSE = 5.0
"""Seconds between two attempts, as an app waits that got a 4xx."""
REPLY = 60.0
"""Seconds for a reply: more than the relay takes for any (`delivery.confirmWithin`)."""


def reply(lines: BinaryIO) -> tuple[int, str]:
    """The code and the text of one reply, its lines joined."""
    texts = []
    while True:
        line = lines.readline().decode("utf-8", "replace").rstrip("\r\n")
        texts.append(line[4:])
        if line[3:4] != "-":
            return (int(line[:3]) if line[:3].isdigit() else 0), "\n".join(texts)


def attempt(address: tuple[str, int], sender: str, recipient: str, content: str) -> tuple[int, str]:
    """The reply that decides: the first that is negative, or the last one."""
    with socket.create_connection(address, REPLY) as connection:
        lines = connection.makefile("rb")
        code, text = reply(lines)
        for command in ("EHLO send-test", f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA", content):
            if not 200 <= code < 400:
                return code, text
            connection.sendall(command.encode() + b"\r\n")
            code, text = reply(lines)
        connection.sendall(b"QUIT\r\n")
        return code, text


def main() -> int:
    """Try until there is a verdict for good, or no time is left."""
    given = os.environ
    address = ("127.0.0.1", int(given["SEND_PORT"]))
    end = time.monotonic() + float(given["SEND_SECONDS"])
    content = given["SEND_MESSAGE"].replace("\n", "\r\n") + "\r\n."
    while True:
        try:
            code, text = attempt(address, given["SEND_FROM"], given["SEND_TO"], content)
        except (OSError, ValueError) as error:
            code, text = 0, f"{type(error).__name__}: {error}"
        last = not (400 <= code < 500 or code == 0) or time.monotonic() + PAUSE > end
        print(json.dumps({"code": code, "text": text, "last": last}), flush=True)
        if last:
            return 0
        time.sleep(PAUSE)


if __name__ == "__main__":
    sys.exit(main())
