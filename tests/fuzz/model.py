"""What a session of the sidecar must answer, in a few lines: the judge of generated sessions.

Written from docs/sidecar.md and the RFCs, and sharing no code with what it judges. Where it would have to repeat the
grammar of addresses and parameters it names the codes that are possible, and follows the answer.
"""

import re
from collections.abc import Iterable
from typing import Final

MAILBOX: Final = b"noreply@contoso.com"
SIZE_LIMIT: Final = 65_536
"""Bytes: the mailer's messageSize."""

COMMAND_LIMIT: Final = 2048
BAD_LIMIT: Final = 20
HTTP: Final = frozenset(b"GET POST PUT HEAD DELETE OPTIONS PATCH CONNECT TRACE PRI".split())

FIXED: Final = {b"NOOP": "250", b"HELP": "214", b"VRFY": "252", b"EXPN": "502", b"STARTTLS": "502"}
MAIL_CODES: Final = frozenset({"250", "501", "552", "553", "555"})
RCPT_CODES: Final = frozenset({"250", "501", "553", "555"})
CLOSING: Final = frozenset({"221", "421"})

Codes = frozenset[str]


def only(*codes: str) -> Codes:
    """These codes and no other."""
    return frozenset(codes)


class Model:
    """One session's state, changed by what is said and by how it was answered."""

    def __init__(self) -> None:
        self.greeted = self.authenticated = self.transaction = self.closed = False
        self.recipients = self.bad = self.prompts = 0

    # --- A command --------------------------------------------------------------------------------------------------

    def codes(self, line: bytes) -> Codes:
        """What may be answered to a line, given with its end."""
        if line.startswith(b"\x16") or line.partition(b" ")[0] in HTTP:
            return only("421")
        if self._fatal(line):
            return only("500")
        if len(line) > COMMAND_LIMIT and line[:5].upper() != b"AUTH " and not self.prompts:
            return only("500")
        text = line[:-2]
        if self.prompts:
            return only("501") if text == b"*" else only("334" if self.prompts > 1 else "235")
        verb, _, argument = text.partition(b" ")
        return self._verb(verb.upper() if verb.isalpha() and verb.isascii() else b"", argument.strip())

    @staticmethod
    def _fatal(line: bytes) -> bool:
        """Whether it could mean two things, or ends nowhere."""
        return not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line

    def _verb(self, verb: bytes, argument: bytes) -> Codes:
        if verb in FIXED:
            return only(FIXED[verb])
        if verb in {b"EHLO", b"HELO"}:
            return only("250")
        if verb == b"RSET":
            return only("501" if argument else "250")
        if verb == b"QUIT":
            return only("501" if argument else "221")
        in_turn = {b"MAIL": self._mail, b"RCPT": self._rcpt, b"DATA": self._data, b"AUTH": self._auth}
        return in_turn[verb](argument) if verb in in_turn else only("500")

    def _mail(self, argument: bytes) -> Codes:
        if not self.greeted or self.transaction:
            return only("503")
        return {b"FROM:<%s>" % MAILBOX: only("250"), b"": only("501")}.get(argument, MAIL_CODES)

    def _rcpt(self, argument: bytes) -> Codes:
        if not self.transaction:
            return only("503")
        return {b"TO:<a@example.com>": only("250"), b"TO:<>": only("501")}.get(argument, RCPT_CODES)

    def _data(self, argument: bytes) -> Codes:
        if not self.transaction:
            return only("503")
        if argument:
            return only("501")
        return only("354" if self.recipients else "503")

    def _auth(self, argument: bytes) -> Codes:
        mechanism, _, initial = argument.partition(b" ")
        if not self.greeted or self.authenticated:
            return only("503")
        if mechanism.upper() not in {b"PLAIN", b"LOGIN"}:
            return only("504")
        return only("235" if mechanism.upper() == b"PLAIN" and initial.strip() else "334")

    def settle(self, line: bytes, code: str) -> None:
        """It was answered so."""
        self.closed = code in CLOSING or self._fatal(line)
        if self.prompts:
            self.prompts = 0 if code[0] in "45" else self.prompts - 1
            self.authenticated = self.authenticated or code == "235"
        else:
            self._act(line[:-2].partition(b" ")[0].upper(), line[:-2].partition(b" ")[2], code)
        if code[:2] == "50" or code == "555":  # RFC 5321 §4.2.1: syntax and order
            self.bad += 1
        elif code[0] == "2":
            self.bad = 0

    def _act(self, verb: bytes, argument: bytes, code: str) -> None:
        if code[0] in "45":
            return
        if verb in {b"EHLO", b"HELO"}:
            self.greeted, self.transaction = True, False
        elif verb == b"RSET":
            self.transaction = False
        elif verb == b"MAIL":
            self.transaction, self.recipients = True, 0
        elif verb == b"RCPT":
            self.recipients += 1
        elif verb == b"AUTH":
            self.authenticated = code == "235"
            mechanism, _, initial = argument.strip().partition(b" ")
            if code == "334":
                self.prompts = 1 if mechanism.upper() == b"PLAIN" or initial.strip() else 2

    @property
    def expelled(self) -> bool:
        """Whether one 421 more is due: too many bad commands."""
        return self.bad >= BAD_LIMIT and not self.closed

    # --- A message ----------------------------------------------------------------------------------------------------

    @staticmethod
    def body(whole: bytes) -> tuple[Codes, bytes]:
        """What may be answered to the bytes after 354, their end among them; and what must arrive if it is 250.

        Of the message that is what follows its header.
        """
        lines = whole.removesuffix(b".\r\n").replace(b"\r\n", b"\n").split(b"\n")
        content = b"\r\n".join(line.removeprefix(b".") for line in lines)
        if len(content) > SIZE_LIMIT:
            return only("552"), b""
        if b"\r" in whole.replace(b"\r\n", b"") or b"\0" in whole:
            return only("554"), b""
        # A header that names authors, and what is none, may be refused: that grammar is not repeated here.
        plain = content.startswith(b"Subject: ") and content.partition(b"\r\n")[2][:2] in {b"\r\n", b""}
        return (only("250") if plain else only("250", "550", "554")), text(content)

    def delivered(self) -> None:
        """A message was answered, whatever it was."""
        self.transaction, self.bad = False, 0


HEADER_LINE: Final = re.compile(rb"(?:[!-9;-~]+[ \t]*:|[ \t]|>*From )[^\n]*\n")


def text(content: bytes) -> bytes:
    """A message without the lines at its beginning that may be its header, in which the relay changes some fields."""
    at = 0
    while line := HEADER_LINE.match(content, at):
        at = line.end()
    return content[at:]


def ends_within(whole: bytes) -> bool:
    """Whether CRLF.CRLF stands in a message before its end."""
    return b"\r\n.\r\n" in b"\r\n" + whole.removesuffix(b".\r\n")


def joined(lines: Iterable[bytes]) -> bytes:
    """All of them."""
    return b"".join(lines)
