"""Every reply of our own that an app can see, as data. docs/sidecar.md says of each what to do."""

from typing import Final

from o365mailer_sidecar.reply import Reply

# --- Commands and sessions --------------------------------------------------------------------------------------------

OK: Final = Reply(250, "2.0.0", "OK")
SENDER_OK: Final = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK: Final = Reply(250, "2.1.5", "Recipient OK")
BYE: Final = Reply(221, "2.0.0", "Bye")
HELP: Final = Reply(214, "2.0.0", "This relays to Office 365: EHLO, MAIL, RCPT, DATA, RSET, NOOP, AUTH, QUIT")
VRFY: Final = Reply(252, "2.1.5", "Cannot verify; send the message and Office 365 decides")
START_DATA: Final = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
AUTH_OK: Final = Reply(235, "2.7.0", "Accepted; this relay asks for no password")
AUTH_CANCELLED: Final = Reply(501, "5.7.0", "Authentication cancelled")
AUTH_MECHANISM: Final = Reply(504, "5.5.4", "AUTH takes PLAIN or LOGIN")
AUTH_NOT_OFFERED: Final = Reply(502, "5.5.1", "AUTH is not offered here (delivery.offerAuth of the mailer)")
AUTH_AGAIN: Final = Reply(503, "5.5.1", "Already authenticated")
NO_TLS: Final = Reply(502, "5.5.1", "No TLS on loopback: turn STARTTLS off in the app for this host")
UNKNOWN_COMMAND: Final = Reply(500, "5.5.2", "Command not recognized")
NOT_IMPLEMENTED: Final = Reply(502, "5.5.1", "Command not implemented")
LINE_TOO_LONG: Final = Reply(500, "5.5.2", "Command line too long")
LINE_LONE_LF: Final = Reply(500, "5.5.2", "A command ends with CRLF, this one ended with a lone LF; closing")
LINE_LONE_CR: Final = Reply(500, "5.5.2", "A command holds a lone CR; closing")
LINE_NUL: Final = Reply(500, "5.5.2", "A command holds a NUL; closing")
HTTP: Final = Reply(421, "4.7.0", "This is SMTP, not HTTP; closing")
TLS_HELLO: Final = Reply(421, "4.7.0", "No TLS on loopback: use plain SMTP to this host; closing")
EARLY_TALKER: Final = Reply(421, "4.7.0", "Wait for the greeting before the first command; closing")
PIPELINED_DATA: Final = Reply(421, "4.7.0", "Wait for 354 before the message; closing")
TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", "Too many bad commands; closing")
TOO_MANY_SESSIONS: Final = Reply(421, "4.3.2", "Too many sessions at once; close the idle ones, or try again later")
IDLE: Final = Reply(421, "4.4.2", "No command for too long; closing")
STOPPING: Final = Reply(421, "4.3.2", "The relay is stopping; try again later")
INTERNAL: Final = Reply(421, "4.3.0", "Internal error, written to the relay's log; try again later")

# --- Order and arguments of commands ----------------------------------------------------------------------------------

NEED_EHLO: Final = Reply(503, "5.5.1", "Send EHLO first")
NEED_MAIL: Final = Reply(503, "5.5.1", "Send MAIL first")
NEED_RCPT: Final = Reply(503, "5.5.1", "Send RCPT first: the message has no recipient")
NESTED_MAIL: Final = Reply(503, "5.5.1", "MAIL was sent already: finish that message, or send RSET")
NO_ARGUMENT: Final = Reply(501, "5.5.4", "The command takes no argument")
MAIL_SYNTAX: Final = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]")
RCPT_SYNTAX: Final = Reply(501, "5.5.4", "Syntax: RCPT TO:<address> [parameters]")
UNKNOWN_PARAMETER: Final = Reply(555, "5.5.4", "A parameter is not supported")
PARAMETER_TWICE: Final = Reply(501, "5.5.4", "A parameter is given twice")
PARAMETER_VALUE: Final = Reply(501, "5.5.4", "A parameter's value is malformed")
TWO_DOMAINS: Final = Reply(501, "5.1.3", "The address has more than one @: write user@example.com")
NOT_UTF8: Final = Reply(501, "5.5.4", "The address is not UTF-8")
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "Too many recipients: send the message again to the others")

# --- Messages ---------------------------------------------------------------------------------------------------------

TOO_BIG: Final = Reply(552, "5.3.4", "Message too big: the limit is {limit} bytes (limits.messageSize of the mailer)")
DISK_FULL: Final = Reply(452, "4.3.1", "No room for a message of this size in the scratch directory; try again later")
BODY_LONE_LF: Final = Reply(554, "5.6.0", "The message holds a lone LF; lines end with CRLF (delivery.lineEndings)")
BODY_LONE_CR: Final = Reply(554, "5.6.0", "The message holds a lone CR; lines end with CRLF")
BODY_NUL: Final = Reply(554, "5.6.0", "The message holds a NUL; encode binary parts as base64")
NO_8BITMIME: Final = Reply(554, "5.6.3", "The message holds 8-bit text and the submission host takes 7-bit only")
NO_SMTPUTF8: Final = Reply(553, "5.6.7", "The submission host takes ASCII addresses and headers only")
NO_SMTPUTF8_WRITTEN: Final = Reply(
    553,
    "5.6.7",
    "The submission host takes ASCII headers only, and the relay would write a UTF-8 address into Reply-To, From or "
    "X-Original-To: use ASCII addresses",
)
NOT_ONE_COMMAND: Final = Reply(
    554, "5.5.4", "An address or a parameter holds a line end, a space or a bracket and would end its command; not sent"
)

# --- Policy: the fix stands in the text -------------------------------------------------------------------------------

SENDER_NOT_ALLOWED: Final = Reply(
    553,
    "5.7.1",
    "<{address}> may not send here, only {mailbox}: send from that, or add the address to the mailer's "
    "spec.senders.allowed",
)
AUTHOR_NOT_ALLOWED: Final = Reply(
    550,
    "5.7.1",
    "{name} names <{address}>, who may not send here: write {mailbox}, or add the address to the mailer's "
    "spec.senders.allowed",
)
RECIPIENT_NOT_ALLOWED: Final = Reply(
    550, "5.7.1", "Mail may not go to <{address}>: add its domain to the mailer's spec.recipients.allowedDomains"
)
HEADER_TWICE: Final = Reply(550, "5.1.20", "The message has two {name} headers: send one")
HEADER_MALFORMED: Final = Reply(
    554, "5.6.0", 'The {name} header is no address that can be read; write it as "Name" <user@example.com>'
)
MANY_AUTHORS: Final = Reply(550, "5.1.20", "From names several addresses: add a Sender header with one of them")
AUTHOR_DISGUISED: Final = Reply(
    554,
    "5.6.0",
    "Only some programs read a header line of this message as {name}: write the name with no other character, as "
    "{name}: user@example.com",
)
HEADERS_TOO_BIG: Final = Reply(554, "5.6.0", "The message's headers do not end within {limit} KiB")
LOOP: Final = Reply(554, "5.4.6", "More than {limit} Received headers: the message goes round in a loop")

# --- With a spool: a 250 that does not claim Exchange has it ----------------------------------------------------------

QUEUED: Final = Reply(250, "2.0.0", "Queued here, not with Office 365 yet: {reason}")
QUEUED_DIVIDED: Final = Reply(
    250, "2.0.0", "Queued here for {queued} of {all} recipients, not with Office 365 yet; {refused} refused: {said}"
)
DIVIDED: Final = Reply(
    250, "2.0.0", "Office 365 has it for {taken} of {all} recipients; {queued} queued here, {refused} refused: {said}"
)
SET_ASIDE: Final = Reply(
    250,
    "2.0.0",
    "Office 365 has it for {taken} of {all} recipients; for the others its file in the spool is damaged and set aside "
    "({reason}): see the relay's log",
)
NO_ROOM: Final = Reply(452, "4.3.1", "The message cannot be queued: {reason}; try again later")

# --- No verdict: time, or another person, heals it --------------------------------------------------------------------

NOT_READY: Final = Reply(451, "4.3.5", "The relay waits for its mailer: {reason}")
TOKEN_REFUSED: Final = Reply(451, "4.7.8", "Office 365 refuses the mailer's token for {mailbox}: {answer}")
AWAY: Final = Reply(451, "4.4.1", "Office 365 cannot be reached: {reason}; nothing was sent, try again later")
LOST: Final = Reply(451, "4.4.2", "The connection to Office 365 broke ({reason}); nothing was sent, try again later")
NO_VERDICT: Final = Reply(451, "4.4.2", "No verdict from Office 365 ({reason}); it may have taken the message")
NOT_CONFIRMED: Final = Reply(
    451, "4.4.7", "No verdict from Office 365 within {within}; nothing was sent, try again later"
)
PACED: Final = Reply(
    451, "4.3.2", "The mailer lets {limit} messages a minute leave here, and these are taken; try again in {seconds} s"
)
UNREADABLE: Final = Reply(
    451, "4.3.0", "The message cannot be read back from the relay's disk: {reason}; nothing was sent, try again later"
)
UNFINISHED: Final = Reply(451, "4.3.2", "The relay is stopping; nothing was sent, try again later")
BROKEN: Final = Reply(451, "4.3.0", "Internal error, written to the relay's log; nothing is confirmed, try again later")


def filled(reply: Reply, **words: object) -> Reply:
    """The reply with the words of this case in its text."""
    return reply._replace(text=reply.text.format(**words))
