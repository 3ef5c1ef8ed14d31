"""The spool for tests: opened in a directory, with what it reports, and messages to put into it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from o365mailer_sidecar.message.body import Body, BodyReader
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.spool.disk import Disk
from o365mailer_sidecar.spool.entry import QueueEntry
from o365mailer_sidecar.spool.spool import Spool

RECEIVED = datetime(2026, 11, 25, 12, 0, 0, 123456, tzinfo=UTC)


class Reports(list[tuple[str, dict[str, str | int]]]):
    """Collects what the spool would have logged."""

    def __call__(self, name: str, *, level: str = "info", **fields: str | int) -> None:
        self.append((name, fields))

    def named(self, name: str) -> list[dict[str, str | int]]:
        """The fields of all events of this name."""
        return [fields for said, fields in self if said == name]


@contextmanager
def spool_in(directory: Path, *, disk: Disk | None = None, reports: Reports | None = None) -> Iterator[Spool]:
    """A spool that is closed afterwards, as when the process ends."""
    report = Reports() if reports is None else reports
    spool = Spool(directory, now=lambda: RECEIVED + timedelta(hours=1), report=report, disk=disk)
    try:
        yield spool
    finally:
        spool.close()


def envelope(queue_id: str = "2990A37EA2F3", *recipients: str, sender: str = "noreply@contoso.com") -> Envelope:
    """An envelope to these recipients, or to one."""
    to = tuple(Recipient(address=address) for address in recipients or ("a@example.com",))
    return Envelope(queue_id=queue_id, sender=Sender(address=sender), recipients=to)


def body(content: bytes = b"Subject: test\r\n\r\nHello\r\n") -> Body:
    """A body as the relay receives it: in memory, or in a file if it is large."""
    reader = BodyReader(size_limit=2**30, line_endings="Normalize")
    # Dots are stuffed on the way in.
    reader.feed((b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
    return reader.body()


def content_of(found: Body) -> bytes:
    """The whole message; closes it."""
    content = b"".join(found.blocks())
    found.close()
    return content


def recovered(spool: Spool) -> dict[str, QueueEntry]:
    """The recovered messages by queue id."""
    return {stored.queue_id: stored for stored in spool.recovered()}


def files(directory: Path, name: str = "queue") -> dict[str, bytes]:
    """What a partition's directory holds besides preallocated files."""
    found = sorted((directory / "0" / name).iterdir())
    return {file.name: file.read_bytes() for file in found if not file.name.startswith(".")}
