"""Headers of a message that is sent as the mailbox, or to another recipient than the app's.

Only what must change does: an address is exchanged inside its field, so that the display name, comments, encoded words
and folding stay octet by octet. A signature that covers From (DKIM) no longer holds; nothing can help that.
"""

from collections.abc import Callable
from typing import Final

from o365mailer_sidecar.mail.author import Author, authors
from o365mailer_sidecar.mail.envelope import Envelope
from o365mailer_sidecar.mail.headers import Field

ORIGINAL_RECIPIENTS: Final = b"X-Original-To:"


def as_mailbox(head: bytes, found: list[Field], *, mailbox: str, allows: Callable[[str], bool]) -> bytes:
    """The header block with From, Sender and Reply-To of a message that the mailbox sends for its author.

    An author who is not allowed leaves From to the mailbox and goes to Reply-To, unless there is one; Sender, which
    would say the same as From, goes. Authors who are allowed stay, and the mailbox is their Sender.
    """
    author = next((field for field in found if field.name == b"from"), None)
    sender = next((field for field in found if field.name == b"sender"), None)
    names = authors(author.value) if author else ()
    pieces: list[tuple[slice, bytes]] = []
    if author and not all(allows(name.address) for name in names):
        pieces.append((author.place, _from(author.value, names[0], alone=len(names) == 1, mailbox=mailbox)))
        if not any(field.name == b"reply-to" for field in found):
            pieces[-1] = (author.place, pieces[-1][1] + _reply_to(author.value, names))
        if sender:
            pieces.append((sender.place, b""))
    elif sender:
        pieces.append((sender.place, b"Sender: " + mailbox.encode() + b"\r\n"))
    elif author:
        end = slice(author.place.stop, author.place.stop)
        pieces.append((end, b"Sender: " + mailbox.encode() + b"\r\n"))
    return _exchanged(head, pieces)


def original_recipients(envelope: Envelope) -> bytes:
    """The field that says where a redirected message would have gone: every recipient of the envelope, Bcc included."""
    paths = ",\r\n ".join(f"<{recipient.address}>" for recipient in envelope.recipients)
    return ORIGINAL_RECIPIENTS + f" {paths}\r\n".encode()


def _reply_to(value: bytes, names: tuple[Author, ...]) -> bytes:
    """The field that names the author.

    Of a list like `App, Inc <app@example.com>`, which somebody forgot to quote, what can be answered.
    """
    addresses = [f" <{name.address}>" for name in names if "@" in name.address]
    if len(addresses) < len(names):
        value = ",".join(addresses).encode()
    return b"Reply-To:" + value + b"\r\n" if addresses else b""


def _from(value: bytes, first: Author, *, alone: bool, mailbox: str) -> bytes:
    whole = slice(0, len(value)) if alone else first.whole
    place = first.place
    address = b"<" + mailbox.encode() + b">" if value[place].startswith(b"<") else mailbox.encode()
    before, behind = value[whole.start : place.start], value[place.stop : whole.stop]
    space = b"" if before[:1] in (b" ", b"\t", b"\r") else b" "
    return b"From:" + space + before + address + behind + b"\r\n"


def _exchanged(head: bytes, pieces: list[tuple[slice, bytes]]) -> bytes:
    """`head` with each place replaced by its octets."""
    for place, octets in sorted(pieces, key=lambda piece: -int(piece[0].start)):
        head = head[: place.start] + octets + head[place.stop :]
    return head
