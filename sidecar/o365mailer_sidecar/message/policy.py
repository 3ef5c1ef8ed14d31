"""Who may send, and where mail may go: what a mailer's settings say to an envelope and to a header. Pure.

A command is judged when it comes, if the settings are known by then. The whole message is judged again by the settings
that it is sent with (`Policy.applied`). Both the reverse-path and From are judged, because Exchange looks at both, and
locks a mailbox whose messages it refuses again and again (550 5.2.252).
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from msgspec.structs import replace

from o365mailer_contract.settings import Recipients, Senders, Settings
from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message.address_list import (
    Author,
    Malformed,
    authors,
    canonical,
    canonical_domain,
    is_address,
    is_list,
    mailboxes,
)
from o365mailer_sidecar.message.envelope import Envelope, Recipient
from o365mailer_sidecar.message.header import Header
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.reply import Reply, shortened

RECEIVED_LIMIT: Final = 50
"""Received lines of a message; more are a loop. RFC 5321 §6.3 speaks of 100, for servers that mail of others passes
through; an app's mail has passed none."""

NEVER: Final = "NOTIFY=NEVER"


class Applied(NamedTuple):
    """What a policy makes of a message that it allows."""

    message: Message
    policy: "Policy"
    envelope: Envelope
    """The envelope as it goes to Exchange."""
    author: str
    """The address that Exchange sees as the author."""
    rewritten: bool
    """Whether From, Sender and Reply-To are written anew."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one settings document about senders and recipients."""

    mailbox: str
    senders: Senders
    recipients: Recipients

    @property
    def rewrites(self) -> bool:
        """Whether a sender that is not allowed is replaced, not refused."""
        return self.senders.on_mismatch == "Rewrite"

    def allows(self, address: str) -> bool:
        """Whether this address may send. Addresses are compared as `canonical` says."""
        if address == self.mailbox:  # nearly always
            return True
        address = canonical(address)
        if address == canonical(self.mailbox):
            return True
        local, at, domain = address.rpartition("@")
        wanted = {address, f"@{domain}", f"*@{domain}"} if local and at else set()
        return any(canonical(pattern) in wanted for pattern in self.senders.allowed)

    def author_without_from(self, envelope: Envelope) -> str:
        """Who wrote a message without From: the reverse-path that it is sent with, or the mailbox if that is `<>`.

        Exchange accepts no message without From ("no longer accepted", 550 5.7.512).
        """
        return envelope.sender.address if is_address(envelope.sender.address) else self.mailbox

    def check_sender(self, address: str) -> None:
        """Raises Refused for a reverse-path that is not allowed; `<>` always is."""
        if address and not self.allows(address) and not self.rewrites:
            raise Refused(self._refusal(replies.SENDER_NOT_ALLOWED, address))

    def check_recipient(self, address: str, *, taken: int = 0) -> None:
        """Raises Refused for a domain that is not allowed, or one recipient more than `taken` ones may be."""
        if taken >= self.recipients.max_per_message:
            raise Refused(replies.TOO_MANY_RECIPIENTS)
        domains = self.recipients.allowed_domains
        if domains and canonical_domain(address.rpartition("@")[2]) not in map(canonical_domain, domains):
            raise Refused(replies.filled(replies.RECIPIENT_NOT_ALLOWED, address=shortened(address)))

    def applied(self, message: Message) -> Applied:
        """Judge a message, and say what is sent instead. Raises Refused."""
        self.check_sender(message.envelope.sender.address)
        for recipient in message.envelope.recipients:
            self.check_recipient(recipient.address)
        author, rewritten = self._check_authors(message.header)
        if message.header.count.get(b"received", 0) > RECEIVED_LIMIT:
            raise Refused(replies.filled(replies.LOOP, limit=RECEIVED_LIMIT))
        sent = self._envelope(message.envelope)
        return Applied(message, self, sent, author or self.author_without_from(sent), rewritten)

    def _check_authors(self, header: Header) -> tuple[str, bool]:
        """The author as Exchange will see it, empty where none is named, and whether the fields are written anew.

        Raises Refused where they may not stay, and for what cannot be read. Several authors need a Sender (RFC 5322
        §3.6.2; Exchange: 550 5.1.20).
        """
        rewrites = self.rewrites
        # After the end of the header it is text, which is refused, or left alone: it is never rewritten.
        values = {name: value for name, (value, inside) in header.author_values().items() if inside or not rewrites}
        names = self._named("From", values.get(b"from"))
        senders = self._named("Sender", values.get(b"sender"))
        if len(senders) > 1:
            raise Refused(replies.filled(replies.HEADER_MALFORMED, name="Sender"))
        wrong = []
        for title, named in (("From", names), ("Sender", senders)):
            wrong += [(title, one) for one in named if not self.allows(one.address)]
        sender_lacks = len(names) > 1 and not senders
        if not rewrites:
            if wrong:
                title, one = wrong[0]
                if not one.mailbox:  # such as `root`: senders.allowed cannot hold it
                    raise Refused(replies.filled(replies.HEADER_MALFORMED, name=title))
                raise Refused(self._refusal(replies.AUTHOR_NOT_ALLOWED, one.address, name=title))
            if sender_lacks:
                raise Refused(replies.MANY_AUTHORS)
            return names[0].address if names else "", False
        author = self.mailbox if wrong and wrong[0][0] == "From" else names[0].address if names else ""
        return author, bool(wrong) or sender_lacks or not all(map(is_list, values.values()))

    def _named(self, title: str, value: bytes | None) -> tuple[Author, ...]:
        """The addresses of one field. Raises Refused."""
        if value is None:
            return ()
        try:
            return mailboxes(value) if self.rewrites else authors(value)
        except Malformed:
            raise Refused(replies.filled(replies.HEADER_MALFORMED, name=title)) from None

    def _envelope(self, given: Envelope) -> Envelope:
        """The envelope as it goes to Exchange. A sender who is not allowed has been refused, unless it is rewritten."""
        sender, to = given.sender, given.recipients
        if self.recipients.redirect_to:
            to = (Recipient(address=self.recipients.redirect_to, parameters=_shared(to)),)
        if not sender.address and self.senders.null_reverse_path == "Mailbox":
            # `<>` asks for no report ever (RFC 5321 §4.5.5); with an address there, NOTIFY=NEVER says so.
            to = tuple(replace(one, parameters=_silent(one.parameters)) for one in to)
            sender = replace(sender, address=self.mailbox)
        elif sender.address and self.rewrites and not self.allows(sender.address):
            sender = replace(sender, address=self.mailbox)
        if sender is given.sender and to is given.recipients:
            return given
        return replace(given, sender=sender, recipients=to)

    def _refusal(self, reply: Reply, address: str, **words: str) -> Reply:
        return replies.filled(reply, address=shortened(address), mailbox=self.mailbox, **words)


def policy_of(settings: Settings) -> Policy:
    """The policy in a settings document."""
    return Policy(settings.mailbox, settings.senders, settings.recipients)


def _silent(parameters: tuple[str, ...]) -> tuple[str, ...]:
    return (*(word for word in parameters if not word.upper().startswith("NOTIFY=")), NEVER)


def _shared(recipients: tuple[Recipient, ...]) -> tuple[str, ...]:
    """What the app asked for all of them alike; ORCPT names one recipient, and is not shared."""
    common = set.intersection(*({word for word in to.parameters if word.startswith("NOTIFY=")} for to in recipients))
    return tuple(common)
