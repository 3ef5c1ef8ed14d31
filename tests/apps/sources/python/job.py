"""What the driver asks for, read from the environment; and the one line of JSON that answers it."""

import json
import os
import pathlib
from collections.abc import Callable

HOST, PORT = os.environ["HOST"], int(os.environ["PORT"])
SENDER, RECIPIENTS = os.environ["SENDER"], os.environ["RECIPIENTS"].split(",")
SUBJECT, TEXT = os.environ["SUBJECT"], pathlib.Path(os.environ["TEXT"]).read_text(encoding="utf-8")
ATTACHMENT = pathlib.Path(os.environ["ATTACHMENT"]) if os.environ["ATTACHMENT"] else None
LOGIN, STARTTLS = os.environ["LOGIN"], bool(os.environ["STARTTLS"])
SECRET = os.environ["SECRET"]


def report(send: Callable[[], object]) -> None:
    """Send, and say what came of it: `told` is what code sees, `text` what a person reads.

    What `send` returns is about refused recipients.
    """
    try:
        refused = send()
        print(json.dumps({"told": "returns the refused" if refused else "ok", "text": str(refused or "")}))
    except Exception as error:  # noqa: BLE001 - whatever the program raises is its report
        print(json.dumps({"told": type(error).__name__, "text": str(error)}))
