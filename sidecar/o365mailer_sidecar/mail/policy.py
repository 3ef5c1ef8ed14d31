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
from o365mailer_sidecar.mail.author import Malformed, authors
from o365mailer_sidecar.mail.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.mail.headers import Field, fields
from o365mailer_sidecar.mail.rewriting import as_mailbox, original_recipients
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
        """Whether this address may send. Case does not matter: it does not to Exchange, in the local part either."""
        address = address.lower()
        if address == self.mailbox.lower():
            return True
        local, at, domain = address.rpartition("@")
        wanted = {address, f"@{domain}", f"*@{domain}"} if local and at else set()
        return any(pattern.lower() in wanted for pattern in self.senders.allowed)

    def check_sender(self, address: str) -> None:
        """Raises Refused for a reverse-path that is not allowed; `<>` always is."""
        if address and not self.rewrites and not self.allows(address):
            raise Refused(self._refusal(replies.SENDER_NOT_ALLOWED, address))

    def check_recipient(self, address: str, *, taken: int = 0) -> None:
        """Raises Refused for a domain that is not allowed, or one recipient too many behind the `taken` ones."""
        if taken >= self.recipients.max_per_message:
            raise Refused(replies.TOO_MANY_RECIPIENTS)
        domains = self.recipients.allowed_domains
        if domains and address.rpartition("@")[2].lower() not in {domain.lower() for domain in domains}:
            raise Refused(replies.filled(replies.RECIPIENT_NOT_ALLOWED, address=shortened(address)))

    def check_authors(self, head: list[Field]) -> bool:
        """Whether From and Sender may stay as they are. Raises Refused where they may not, and for what cannot be read.

        Several authors need a Sender (RFC 5322 §3.6.2; Exchange: 550 5.1.20). No From at all claims nobody.
        """
        named: dict[str, tuple[str, ...]] = {}
        for name, title in ((b"from", "From"), (b"sender", "Sender")):
            found = [field for field in head if field.name == name]
            if len(found) > 1:
                raise Refused(replies.filled(replies.HEADER_TWICE, name=title))
            named[title] = _addresses(found, title)
        if len(named["Sender"]) > 1:
            raise Refused(replies.filled(replies.HEADER_MALFORMED, name="Sender"))
        wrong = [(title, address) for title in named for address in named[title] if not self.allows(address)]
        if wrong and not self.rewrites:
            title, address = wrong[0]
            raise Refused(self._refusal(replies.AUTHOR_NOT_ALLOWED, address, name=title))
        lacking = len(named["From"]) > 1 and not named["Sender"]
        if lacking and not self.rewrites:
            raise Refused(replies.MANY_AUTHORS)
        return not (wrong or lacking)

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


def applied(policy: Policy, envelope: Envelope, head: bytes) -> tuple[Envelope, bytes | None]:
    """The envelope to send, and the header block to send instead of `head`; None: as it is. Raises Refused."""
    policy.check_sender(envelope.sender.address)
    for recipient in envelope.recipients:
        policy.check_recipient(recipient.address)
    found = fields(head)
    if sum(field.name == b"received" for field in found) > RECEIVED_LIMIT:
        raise Refused(replies.filled(replies.LOOP, limit=RECEIVED_LIMIT))
    kept = policy.check_authors(found)
    headers = head if kept else as_mailbox(head, found, mailbox=policy.mailbox, allows=policy.allows)
    if policy.recipients.redirect_to:
        headers = original_recipients(envelope) + headers
    return policy.envelope(envelope), None if headers is head else headers


def author_of(head: bytes) -> str:
    """The first address in From; empty when there is none that can be read."""
    try:
        return next(iter(_addresses([field for field in fields(head) if field.name == b"from"], "From")), "")
    except Refused:
        return ""


def _addresses(found: list[Field], title: str) -> tuple[str, ...]:
    try:
        return tuple(author.address for field in found for author in authors(field.value))
    except Malformed:
        raise Refused(replies.filled(replies.HEADER_MALFORMED, name=title)) from None


def _sent_by(sender: Sender, mailbox: str) -> Sender:
    return Sender(address=mailbox, size=sender.size, smtputf8=sender.smtputf8, parameters=sender.parameters)


def _silent(parameters: tuple[str, ...]) -> tuple[str, ...]:
    return (*(word for word in parameters if not word.upper().startswith("NOTIFY=")), NEVER)


def _shared(recipients: tuple[Recipient, ...]) -> tuple[str, ...]:
    """What was asked for every one of them alike; ORCPT, which names one, is not."""
    common = set.intersection(*({word for word in to.parameters if word.startswith("NOTIFY=")} for to in recipients))
    return tuple(common)
