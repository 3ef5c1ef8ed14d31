"""From the greeting to TLS, with nothing left over (RFC 3207 §4.2).

Octets that arrive with the 220 to STARTTLS can only come from somebody between us and the host: such a connection is
closed before a token is near.
"""

import asyncio
import ssl
from typing import Final

from o365mailer_sidecar.errors import Away, Distrusted
from o365mailer_sidecar.exchange.talk import NoAnswer, NoSmtp, OutOfTurn, Said, Talk, Unsaid
from o365mailer_sidecar.timeouts import Timeouts

OUT_OF_TURN_IN_CLEAR: Final = "the submission host spoke out of turn before TLS"
NOT_ONE_ANSWER: Final = "the submission host sent more than one answer, or none that is SMTP, before TLS"


async def upgrade(talk: Talk, *, context: ssl.SSLContext, host: str, name: str, timeouts: Timeouts) -> Talk:
    """The talk under TLS, for one that has read its greeting. Raises Away, Distrusted; ssl.SSLError as it is.

    It is a fresh one: nothing that was said in clear is remembered.
    """
    said = await _ask(talk, b"EHLO " + name.encode(), timeout=timeouts.ehlo)
    if said.code != 250:
        raise Away(f"{said.code} to EHLO")
    if "STARTTLS" not in [line.upper() for line in said.lines[1:]]:
        raise Distrusted(f"{host} offers no STARTTLS")
    said = await _ask(talk, b"STARTTLS", timeout=timeouts.starttls)
    if said.code != 220:
        raise Away(f"{said.code} to STARTTLS")
    secured = Talk()
    transport = talk.transport and await asyncio.get_running_loop().start_tls(
        talk.transport, secured, context, server_hostname=host, ssl_handshake_timeout=timeouts.tls
    )
    if not transport:
        raise Away("the connection ended during the TLS handshake")
    secured.connection_made(transport)
    return secured


async def _ask(talk: Talk, command: bytes, *, timeout: float) -> Said:
    """The one reply. Raises Away, or Distrusted for bytes that were not asked for."""
    try:
        said = await talk.ask(command, timeout=timeout)
    except OutOfTurn:
        raise Distrusted(OUT_OF_TURN_IN_CLEAR) from None
    except NoSmtp:
        raise Distrusted(NOT_ONE_ANSWER) from None
    except NoAnswer:
        verb = command.partition(b" ")[0].decode()
        raise Away(f"no answer to {verb} within {timeout:g} s") from None
    except Unsaid:
        raise Away("the connection ended before TLS") from None
    if talk.octets:
        raise Distrusted(NOT_ONE_ANSWER)
    return said
