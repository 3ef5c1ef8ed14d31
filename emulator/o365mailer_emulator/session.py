"""One SMTP session as Exchange Online's client submission holds it (RFC 5321, 3207, 4954, 2920, 3030).

Commands are answered strictly in order, so PIPELINING needs no code. Before each answer, the session asks the script
for a rule.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from o365mailer_emulator import intake, replies, verdict
from o365mailer_emulator.bearer import Grant, admit, parse_xoauth2
from o365mailer_emulator.envelope import Transaction, parse_chunk, parse_path
from o365mailer_emulator.errors import ConnectionEnded, LineTooLong, TokenRefused
from o365mailer_emulator.wire import Wire

if TYPE_CHECKING:
    from o365mailer_emulator.script import Rule
    from o365mailer_emulator.submission import Submission

AUTH_LINE = 12_288  # bytes, RFC 4954 §4: a bearer token makes AUTH longer than any other command
COMMAND_LINE = 2_048  # bytes; RFC 5321 §4.5.3.1.4 asks for 512 and leaves more to extensions
STEPS = {"HELO": "ehlo"}  # the only verb whose step has another name


class Session:
    """One connection, from the greeting to its end."""

    def __init__(self, wire: Wire, service: Submission, number: int) -> None:
        self.wire = wire
        self.service = service
        self.number = number
        self.greeted = False
        self.grant: Grant | None = None
        self.transaction: Transaction | None = None
        self._started = service.clock()
        self._submitting = self._expired = False
        self._sender = "unknown"
        self._verbs: dict[str, Callable[[str], Awaitable[str]]] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "NOOP": self._constant(replies.NOOP_OK),
            "VRFY": self._constant(replies.VRFY),
            "HELP": self._constant(replies.HELP),
            "QUIT": self._constant(replies.BYE),
        }

    async def run(self) -> None:
        """Speaks until one side ends the session. Raises ConnectionEnded if a client or a script cuts it."""
        rule = await self._scripted("connect")
        await self._answer(rule, rule.text if rule and rule.text else replies.READY)
        while True:
            verb, argument = await self._command()
            if not verb:
                continue
            reply = await self._perform(verb, argument)
            if verb == "DATA" and reply.startswith("354"):
                reply = await self._receive()
            if verb == "STARTTLS" and reply.startswith("220"):
                await self._handshake()
            elif reply.startswith(("221", "421")):
                return

    async def _command(self) -> tuple[str, str]:
        """The next verb, in capitals, and its argument; an empty verb if the line was refused."""
        try:
            async with asyncio.timeout(self._patience()):
                line = await self.wire.line(limit=AUTH_LINE)
        except TimeoutError:
            await self._time_out()
        except LineTooLong:
            await self.say(replies.LINE_TOO_LONG)
            return "", ""
        if len(line) > COMMAND_LINE and not line[:5].upper().startswith(b"AUTH "):
            await self.say(replies.LINE_TOO_LONG)
            return "", ""
        verb, _, argument = line.decode("utf-8", "replace").partition(" ")
        known = verb.upper() in self._verbs and not verdict.has_lone_line_end(line)
        self.service.ledger.tally.commands[verb.upper() if known else "unknown"] += 1
        if not known:
            await self.say(replies.UNKNOWN_COMMAND, verb=verb[:32].strip())
            return "", ""
        return verb.upper(), argument

    def _patience(self) -> float:
        """Seconds until the session gets 421 because it is idle or has lasted for too long."""
        lasted = self.service.clock() - self._started
        return min(self.service.tenancy.settings.idle_timeout, self.service.behaviour.session_seconds - lasted)

    async def _perform(self, verb: str, argument: str) -> str:
        """Performs the command, or the script's rule instead; returns the reply that was sent."""
        if verb == "BDAT":
            return await self._bdat(argument)
        rule = await self._scripted(STEPS.get(verb, verb.lower()), _subject(verb, argument))
        reply = (rule.text or "") if rule and rule.decides else await self._verbs[verb](argument)
        if rule and rule.text and reply[:1] in {"2", "3"}:
            reply = rule.text
        return await self._answer(rule, reply)

    async def _scripted(self, step: str, subject: str = "") -> Rule | None:
        rule = self.service.script.take(step, subject)
        if rule is not None:
            self.service.ledger.note("scripted", step=step, session=self.number)
            await self._hold(rule, step)
        return rule

    async def _hold(self, rule: Rule, step: str) -> None:
        """Waits as the rule says. Raises ConnectionEnded if the client leaves meanwhile."""
        stalled = partial(self.service.ledger.note, "stalled", step=step, session=self.number)
        holding = asyncio.ensure_future(self.service.script.hold(rule, stalled=stalled))
        leaving = asyncio.ensure_future(self.wire.ended.wait())
        try:
            await asyncio.wait({holding, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            holding.cancel()
            leaving.cancel()
        if self.wire.ended.is_set():
            raise ConnectionEnded("the client left while the script held it")

    async def _answer(self, rule: Rule | None, reply: str) -> str:
        """Sends the reply with the rule's extra bytes in one write, then ends the connection if the rule says so."""
        if reply:
            await self.say(reply, extra=rule.extra if rule else "")
        if rule and rule.close:
            raise ConnectionEnded("the script closed the connection")
        if rule and rule.reset:
            self.wire.reset()
            raise ConnectionEnded("the script reset the connection")
        return reply

    async def say(self, reply: str, *, extra: str = "", **values: str) -> None:
        """Sends one reply and counts it by its code."""
        self.service.ledger.tally.replies[reply[:3]] += 1
        if self.grant and reply.startswith("5"):
            self.service.heard(self.grant.mailbox, reply)
        text = self._filled(reply, values) if "{" in reply else reply
        await self.wire.write(f"{text}\r\n".encode() + extra.encode("latin-1"))

    def _filled(self, reply: str, values: dict[str, str]) -> str:
        mailbox = self.grant.mailbox.address if self.grant else "unknown"
        known = {"mailbox": mailbox, "sender": self._sender, **values}
        return replies.fill(reply, now=self.service.clock(), identifier=self.service.fresh_id(8).upper(), **known)

    async def _ehlo(self, argument: str) -> str:
        if not argument.strip():
            return replies.BAD_ARGUMENTS
        self.greeted = True
        self.transaction = None
        size = self.service.tenancy.settings.service_size
        keywords = replies.capabilities(secured=bool(self.wire.tls), size=size)
        lines = [f"{replies.HOST} Hello [{self.wire.peer}]", *keywords]
        return "\r\n".join(f"250{'-' if line is not lines[-1] else ' '}{line}" for line in lines)

    async def _helo(self, argument: str) -> str:
        self.greeted = bool(argument.strip())
        self.transaction = None
        return f"250 {replies.HOST} Hello [{self.wire.peer}]" if self.greeted else replies.BAD_ARGUMENTS

    async def _starttls(self, argument: str) -> str:
        if argument.strip():
            return replies.BAD_ARGUMENTS
        return replies.BAD_SEQUENCE if self.wire.tls or not self.greeted else replies.TLS_READY

    async def _handshake(self) -> None:
        rule = await self._scripted("tls")
        if rule and rule.decides:
            await self._answer(rule, rule.text or "")
            return
        try:
            await self.wire.secure(self.service.tls_context)
        except ConnectionEnded:
            self.service.ledger.tally.tls_failures += 1
            raise
        self.service.ledger.tally.tls_handshakes += 1
        self.greeted = False  # RFC 3207 §4.2: the client starts over
        self.transaction = None

    async def _auth(self, argument: str) -> str:
        mechanism, _, initial = argument.strip().partition(" ")
        if not self.wire.tls or mechanism.upper() not in {"XOAUTH2", "LOGIN"}:
            return replies.UNKNOWN_MECHANISM
        if not self.greeted or self.grant or self.transaction:
            return replies.BAD_SEQUENCE
        if mechanism.upper() == "LOGIN":
            return await self._login(initial)
        if not initial:
            await self.say("334 ")
            initial = (await self._continuation()).strip()
        return self._admit(initial)

    async def _login(self, initial: str) -> str:
        """Reads name and password, as Exchange does, and refuses: basic authentication is off. It stores neither."""
        for prompt in ("VXNlcm5hbWU6", "UGFzc3dvcmQ6")[1 if initial else 0 :]:
            await self.say(f"334 {prompt}")
            if await self._continuation() == "*":
                break
        self.service.ledger.tally.auth_failed += 1
        return replies.BASIC_DISABLED

    async def _continuation(self) -> str:
        try:
            async with asyncio.timeout(self.service.tenancy.settings.idle_timeout):
                return (await self.wire.line(limit=AUTH_LINE)).decode("utf-8", "replace")
        except TimeoutError:
            await self._time_out()
        except LineTooLong:
            return ""

    def _admit(self, initial: str) -> str:
        service = self.service
        tally = service.ledger.tally
        user = ""
        try:
            credentials = parse_xoauth2(initial)
            user = credentials.user
            grant = admit(credentials, service.directory, now=service.clock())
        except TokenRefused as refused:
            tally.auth_failed += 1
            tally.auth_expired += refused.expired
            service.ledger.note("auth-refused", reason=refused.reason, session=self.number, mailbox=user)
            return refused.reply or replies.AUTH_UNSUCCESSFUL
        if service.behaviour.crowded_at == "auth" and service.full(grant.mailbox):
            service.traffic.refused(grant.mailbox.address)
            return replies.CONCURRENT
        tally.auth_ok += 1
        self.grant = grant
        if service.behaviour.expired_session == "cut":
            asyncio.get_running_loop().call_later(max(grant.expires - service.clock(), 0), self._expire)
        service.enter(self)
        service.ledger.note("auth", mailbox=grant.mailbox.address, uti=grant.uti, session=self.number)
        return replies.AUTH_OK

    def _expire(self) -> None:
        """The token has expired: ends the session, after the reply if a submission is running."""
        self._expired = True
        if not self._submitting:
            self.wire.close()

    async def _mail(self, argument: str) -> str:
        if not self.greeted:
            return replies.NEED_HELLO
        if self.grant is None:
            return replies.NOT_AUTHENTICATED
        if self.transaction is not None:
            return replies.BAD_SEQUENCE
        path = parse_path(argument, "FROM")
        try:
            size = path.size() if path else None
        except ValueError:
            path = None
        if path is None:
            return replies.BAD_ARGUMENTS
        if size is not None and size > self.service.tenancy.settings.service_size:
            return replies.TOO_LARGE
        if not path.address and self.service.behaviour.null_sender == "refused":
            return replies.NULL_SENDER
        self._sender = path.address
        self.transaction = Transaction(path.address, path.parameters)
        return replies.SENDER_OK

    async def _rcpt(self, argument: str) -> str:
        if self.transaction is None:
            return replies.NEED_MAIL
        path = parse_path(argument, "TO")
        if path is None or not path.address:
            return replies.BAD_ARGUMENTS
        if len(self.transaction.recipients) >= self.service.tenancy.settings.recipients_per_message:
            return replies.TOO_MANY_RECIPIENTS
        self.transaction.recipients.append(path.address)
        return replies.RECIPIENT_OK

    async def _data(self, argument: str) -> str:
        if self.transaction is None:
            return replies.NEED_MAIL
        if not self.transaction.recipients:
            return replies.NEED_RCPT
        if self.transaction.chunked:
            return replies.BAD_SEQUENCE  # RFC 3030 §3: DATA and BDAT exclude each other
        return replies.BAD_ARGUMENTS if argument.strip() else replies.GO_AHEAD

    async def _receive(self) -> str:
        """Receives the message after 354 and answers with the verdict."""
        if self.transaction is None:
            raise ConnectionEnded("a scripted 354 has no transaction to fill")
        try:
            self.transaction.content += await self.wire.data(limit=self.service.tenancy.settings.service_size + 65_536)
        except LineTooLong:
            await self.say(replies.TOO_LARGE)
            raise ConnectionEnded("the message went over the service's limit") from None
        return await self._conclude()

    async def _bdat(self, argument: str) -> str:
        """Reads the chunk, also if it is refused (RFC 3030 §2); otherwise its bytes would be taken for commands."""
        chunk = parse_chunk(argument)
        if chunk is None:
            await self.say(replies.BAD_ARGUMENTS)
            raise ConnectionEnded("a malformed BDAT: the end of its chunk is unknown")
        size, last = chunk
        content = await self._chunk(size)
        rule = await self._scripted("bdat")
        if rule and rule.decides:
            self.transaction = None
            return await self._answer(rule, rule.text or "")
        if self.transaction is None or not self.transaction.recipients:
            return await self._answer(rule, replies.NEED_RCPT if self.transaction else replies.NEED_MAIL)
        if self.service.behaviour.bdat == "refused":
            return await self._answer(rule, replies.NO_BDAT)
        self.transaction.chunked = True
        self.transaction.content += content
        if last:
            return await self._conclude()
        return await self._answer(rule, replies.CHUNK_OK.replace("{size}", str(size)))

    async def _chunk(self, size: int) -> bytes:
        if size > self.service.tenancy.settings.service_size:
            await self.say(replies.TOO_LARGE)
            raise ConnectionEnded("the chunk is over the service's limit")
        return await self.wire.chunk(size)

    async def _conclude(self) -> str:
        """The end of data: the scripted reply or Exchange's verdict. The message is kept before its 250 is sent."""
        transaction, grant = self.transaction, self.grant
        assert transaction is not None  # noqa: S101 - for the type checker
        assert grant is not None  # noqa: S101 - MAIL needs AUTH
        crowded = self.service.crowded(self)
        self._submitting = True
        with intake.slot(self.service, grant, crowded=crowded):
            rule = await self._scripted("body", grant.mailbox.address)
            self.transaction = None
            reply = await self._outcome(rule, transaction, grant, crowded=crowded)
        self._submitting = False
        await self._answer(rule, reply)
        if self._expired:
            raise ConnectionEnded("the token has expired")
        return reply

    async def _outcome(self, rule: Rule | None, transaction: Transaction, grant: Grant, *, crowded: bool) -> str:
        keep = partial(intake.keep, self.service, transaction, grant, session=self.number, tls=self.wire.tls)
        if rule and rule.decides:
            if rule.record:
                keep()
            return rule.text or ""
        refused = await intake.refusal(self.service, transaction, grant, crowded=crowded)
        if refused:
            return refused
        accepted = keep()
        return rule.text if rule and rule.text else accepted

    async def _rset(self, argument: str) -> str:
        self.transaction = None
        return replies.BAD_ARGUMENTS if argument.strip() else replies.RESETTING

    def _constant(self, reply: str) -> Callable[[str], Awaitable[str]]:
        async def answer(_argument: str) -> str:
            return reply

        return answer

    async def _time_out(self) -> NoReturn:
        seconds = int(self.service.clock() - self._started)
        duration = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        await self.say(replies.TIMED_OUT, duration=duration)
        raise ConnectionEnded("the client was idle for too long")


def _subject(verb: str, argument: str) -> str:
    """What a rule's ``match`` is compared with: the address of MAIL and RCPT, else nothing."""
    keyword = {"MAIL": "FROM", "RCPT": "TO"}.get(verb)
    path = parse_path(argument, keyword) if keyword else None
    return path.address if path else ""
