"""Who may send, and where mail may go: what a mailer's settings say to an envelope and to a head of headers.

Pure. A command is judged when it comes, where the settings are known by then; the message is judged again, whole, by
the settings that it is sent with (`applied`). Both the reverse-path and From are judged: Exchange looks at both, and
continuous refusals of one mailbox's messages end in its being shut (550 5.2.252).
"""

from dataclasses import dataclass
from typing import Final

from o365mailer_contract.settings import Recipients, Senders, Settings
from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message.added import added_author
from o365mailer_sidecar.message.address_list import Author, Malformed, authors, canonical, canonical_domain, mailboxes
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.message.header import Header
from o365mailer_sidecar.message.rewrite import as_mailbox, is_list, original_recipients
from o365mailer_sidecar.reply import Reply, shortened

RECEIVED_LIMIT: Final = 50
"""Received lines of a message; more are a loop. RFC 5321 §6.3 speaks of 100, for servers that mail of others passes
through; an app's mail has passed none."""

NEVER: Final = "NOTIFY=NEVER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The judging part of one settings document."""

    mailbox: str
    senders: Senders
    recipients: Recipients

    @property
    def rewrites(self) -> bool:
        """Whether a sender that is not allowed is replaced, not refused."""
        return self.senders.on_mismatch == "Rewrite"

    def allows(self, address: str) -> bool:
        """Whether this address may send. Addresses are compared as `addresses.canonical` says."""
        if address == self.mailbox:  # nearly always
            return True
        address = canonical(address)
        if address == canonical(self.mailbox):
            return True
        local, at, domain = address.rpartition("@")
        wanted = {address, f"@{domain}", f"*@{domain}"} if local and at else set()
        return any(canonical(pattern) in wanted for pattern in self.senders.allowed)

    def check_sender(self, address: str) -> None:
        """Raises Refused for a reverse-path that is not allowed; `<>` always is."""
        if address and not self.rewrites and not self.allows(address):
            raise Refused(self._refusal(replies.SENDER_NOT_ALLOWED, address))

    def check_recipient(self, address: str, *, taken: int = 0) -> None:
        """Raises Refused for a domain that is not allowed, or one recipient too many behind the `taken` ones."""
        if taken >= self.recipients.max_per_message:
            raise Refused(replies.TOO_MANY_RECIPIENTS)
        domains = self.recipients.allowed_domains
        if domains and canonical_domain(address.rpartition("@")[2]) not in map(canonical_domain, domains):
            raise Refused(replies.filled(replies.RECIPIENT_NOT_ALLOWED, address=shortened(address)))

    def check_authors(self, header: Header) -> tuple[str, bool]:
        """The author as Exchange will see it, empty where none is named, and whether From and Sender stay as they are.

        Raises Refused where they may not, and for what cannot be read. Several authors need a Sender (RFC 5322 §3.6.2;
        Exchange: 550 5.1.20).
        """
        values: dict[bytes, bytes] = {}
        seen: set[bytes] = set()
        for field in header.authors():
            if field.name in seen:
                raise Refused(replies.filled(replies.HEADER_TWICE, name=field.name.decode().capitalize()))
            seen.add(field.name)
            # After the end of the header it is text, which is refused, or left alone: it is never rewritten.
            if field.place.start < header.end or not self.rewrites:
                values[field.name] = header.value(field)
        named = {title: self._named(values.get(title.lower().encode()), title) for title in ("From", "Sender")}
        if len(named["Sender"]) > 1:
            raise Refused(replies.filled(replies.HEADER_MALFORMED, name="Sender"))
        wrong = [(title, one) for title in named for one in named[title] if not self.allows(one.address)]
        if wrong and not self.rewrites:
            title, one = wrong[0]
            if not one.mailbox:  # such as `root`: senders.allowed cannot hold it
                raise Refused(replies.filled(replies.HEADER_MALFORMED, name=title))
            raise Refused(self._refusal(replies.AUTHOR_NOT_ALLOWED, one.address, name=title))
        lacking = len(named["From"]) > 1 and not named["Sender"]
        if lacking and not self.rewrites:
            raise Refused(replies.MANY_AUTHORS)
        author = next((one.address for one in named["From"]), "")
        if wrong and wrong[0][0] == "From":
            author = self.mailbox
        return author, not (wrong or lacking) and all(map(is_list, values.values()))

    def _named(self, value: bytes | None, title: str) -> tuple[Author, ...]:
        """The addresses of one field. Raises Refused."""
        if value is None:
            return ()
        try:
            return mailboxes(value) if self.rewrites else authors(value)
        except Malformed:
            raise Refused(replies.filled(replies.HEADER_MALFORMED, name=title)) from None

    def envelope(self, envelope: Envelope) -> Envelope:
        """The envelope as it goes to Exchange."""
        sender, to = envelope.sender, envelope.recipients
        if self.recipients.redirect_to:
            to = (Recipient(address=self.recipients.redirect_to, parameters=_shared(to)),)
        if not sender.address and self.senders.null_reverse_path == "Mailbox":
            # `<>` asks for no report ever (RFC 5321 §4.5.5); with an address there, NOTIFY=NEVER says so.
            to = tuple(Recipient(address=one.address, parameters=_silent(one.parameters)) for one in to)
            sender = _sent_by(sender, self.mailbox)
        elif sender.address and not self.allows(sender.address):
            sender = _sent_by(sender, self.mailbox)
        if sender is envelope.sender and to is envelope.recipients:
            return envelope
        return Envelope(queue_id=envelope.queue_id, sender=sender, recipients=to, protocol=envelope.protocol)

    def _refusal(self, reply: Reply, address: str, **words: str) -> Reply:
        return replies.filled(reply, address=shortened(address), mailbox=self.mailbox, **words)


def policy_of(settings: Settings) -> Policy:
    """The policy in a settings document."""
    return Policy(mailbox=settings.mailbox, senders=settings.senders, recipients=settings.recipients)


@dataclass(frozen=True, slots=True)
class Applied:
    """What policy makes of one message."""

    policy: Policy
    header: Header
    given: Envelope
    """As the app wrote it."""
    envelope: Envelope
    """As it goes to Exchange."""
    author: str
    """Who Exchange sees as the author."""
    rewritten: bool
    """Whether From, Sender and Reply-To are written anew."""

    def replaced(self) -> dict[bytes, bytes]:
        """By name, what replaces a field of the header."""
        if not self.rewritten:
            return {}
        return as_mailbox(self.header, mailbox=self.policy.mailbox, allows=self.policy.allows)

    def added(self) -> bytes:
        """The field that a redirected message gets."""
        return original_recipients(self.given) if self.policy.recipients.redirect_to else b""


def applied(policy: Policy, envelope: Envelope, header: Header) -> Applied:
    """Judge a message, and say what is to be sent instead. Raises Refused."""
    policy.check_sender(envelope.sender.address)
    for recipient in envelope.recipients:
        policy.check_recipient(recipient.address)
    author, kept = policy.check_authors(header)
    if header.count(b"received") > RECEIVED_LIMIT:
        raise Refused(replies.filled(replies.LOOP, limit=RECEIVED_LIMIT))
    sent = policy.envelope(envelope)
    return Applied(policy, header, envelope, sent, author or added_author(sent, mailbox=policy.mailbox), not kept)


def _sent_by(sender: Sender, mailbox: str) -> Sender:
    return Sender(address=mailbox, smtputf8=sender.smtputf8, parameters=sender.parameters)


def _silent(parameters: tuple[str, ...]) -> tuple[str, ...]:
    return (*(word for word in parameters if not word.upper().startswith("NOTIFY=")), NEVER)


def _shared(recipients: tuple[Recipient, ...]) -> tuple[str, ...]:
    """What was asked for every one of them alike; ORCPT, which names one, is not."""
    common = set.intersection(*({word for word in to.parameters if word.startswith("NOTIFY=")} for to in recipients))
    return tuple(common)
