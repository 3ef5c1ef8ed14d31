"""A sidecar with a spool, what is in that spool, and an app that uses it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.scratch_submission import ScratchHost
from support.sidecar_process import MailerDirectory, Sidecar, Wire

LEFT_BEHIND = 75
"""The exit status of a sidecar whose spool is not empty."""

TEXT = b"Subject: x\r\n\r\nbody\r\n"


@contextmanager
def spooling(directory: MailerDirectory, folder: Path, *, stays: bool = False, **options: Any) -> Iterator[Sidecar]:
    """Run a sidecar for the block; SIGTERM ends it then, with mail left in its spool if it `stays`."""
    arguments = [*options.pop("arguments", ()), "--spool-dir", str(folder / "spool")]
    with Sidecar(directory.path, arguments=arguments, **options) as sidecar:
        yield sidecar
        if sidecar.process.poll() is None:
            assert sidecar.stop(within=60) == (LEFT_BEHIND if stays else 0), sidecar.stderr()


def nowhere(directory: MailerDirectory, **members: Any) -> None:
    """A mailer whose submission host refuses connections."""
    with ScratchHost(lambda _: None) as host:
        host.describe(directory, **members)


def queued(folder: Path) -> list[str]:
    """The queue ids of the queued messages, in all partitions."""
    return sorted(file.name for file in folder.glob("spool/*/queue/[!.]*"))


def dead(folder: Path) -> list[str]:
    """The queue ids of the dead letters."""
    return sorted(file.name for file in folder.glob("spool/*/dead/[!.]*"))


def history(folder: Path, queue_id: str) -> list[dict[str, Any]]:
    """The events in a message's file."""
    (file,) = folder.glob(f"spool/*/*/{queue_id}")
    head, _, rest = file.read_bytes().partition(b"\n")
    return [json.loads(line) for line in rest[json.loads(head)["size"] :].splitlines() if line]


def submit(sidecar: Sidecar, *recipients: str, content: bytes = TEXT, sender: str = "noreply@contoso.com") -> str:
    """One message of an app; its final reply."""
    with Wire(sidecar.port) as app:
        app.begin(sender, *recipients)
        return app.deliver(content)


def begin_data(app: Wire, *recipients: str, content: bytes = TEXT) -> None:
    """A message whose verdict is not read yet."""
    app.begin("noreply@contoso.com", *recipients)
    assert app.ask("DATA").startswith("354")
    app.send(content + b".\r\n")


def number(reply: str) -> str:
    """The queue id that a reply ends with."""
    return reply.rpartition("[")[2].rstrip("]")
