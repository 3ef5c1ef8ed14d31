"""Token requests as errands, and the tokens that mailers of equal credentials share.

Mailers of equal token identity (authority, its CA, scope, application) and equal credential, byte for byte, take part
in one request that is under way, and use one token for a minute after it was issued. So 1,000 mailers of one
application make one request, also when all of them start at once. A mailer whose refresh annotation asks for a fresh
token makes a request of its own. Tokens are shared in this process's memory alone, and each mailer's Secret gets one.
"""

import dataclasses
import datetime
import hashlib
import logging
import secrets
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from o365mailer_operator.controller import conditions
from o365mailer_operator.controller.context import Context
from o365mailer_operator.controller.decision import Aim, Mint
from o365mailer_operator.controller.errands import HOST_PLACES, Errand, Errands, Place
from o365mailer_operator.controller.mailer import Key
from o365mailer_operator.controller.service_accounts import ServiceAccounts
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.clientsecret import ClientSecrets
from o365mailer_operator.token.credential import Credential, fingerprint
from o365mailer_operator.token.entra import Entra
from o365mailer_operator.token.errors import ENTRA_UNREACHABLE, EntraError, TokenError

REQUEST_LIMIT: Final = 90.0
"""Seconds for one errand: more than `Entra.mint` takes at most, with two client secrets."""
TENANT_PLACES: Final = 4
NAMESPACE_PLACES: Final = 4
"""Requests at once: half of a host's, so that a tenant which hangs, or a user who makes a thousand mailers in one
namespace, leaves room for others."""
SHARED_FOR: Final = datetime.timedelta(seconds=60)
SHARED_SHARE: Final = 0.25
"""How long after its issue a token may be given to another mailer: for a minute, and for no more than this share of its
life, during which no mailer is due for the next one."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Recent:
    """A token, and the credential that got it."""

    token: Token
    credential: Credential = dataclasses.field(repr=False)


class TokenRequests:
    """Requests tokens from Entra, outside of reconciles. `due` makes a mailer due at once.

    What a request needs is requested with it: the token of a ServiceAccount that proves who asks, too.
    """

    def __init__(self, context: Context, *, due: Callable[[Key], None]) -> None:
        self.lease = context.lease
        self.metrics = context.metrics
        self.clock = context.clock
        accounts = ServiceAccounts(context.cluster)
        self.entra = Entra(request_token=accounts.request_token, proxy=context.options.entra_proxy)
        self.errands: Errands[Token | TokenError] = Errands(
            "token", due=due, clock=context.clock, metrics=context.metrics
        )
        self.salt = secrets.token_bytes(16)
        self.recent: dict[str, _Recent] = {}
        """The tokens of the last minute, by `_name`, the oldest first."""

    def start(self, key: Key, step: Mint) -> None:
        """Request a token as soon as there is a place for it. The mailer becomes due when the request has ended."""
        self.errands.start(key, self._errand(key, step))

    def _errand(self, key: Key, step: Mint) -> Errand[Token | TokenError]:
        grant, aim = step.grant, step.aim
        authority = grant.endpoints.authority
        return Errand(
            aim=aim.digest,
            places=(
                Place(f"host {urlsplit(authority).netloc}", HOST_PLACES),
                Place(f"tenant {authority}", TENANT_PLACES),
                Place(f"namespace {key.namespace}", NAMESPACE_PLACES),
                Place(f"application {authority} {grant.client_id.lower()} {grant.endpoints.scope}", 1),
            ),
            run=lambda: self._token(key, step),
            limit=REQUEST_LIMIT,
            failure=EntraError(
                ENTRA_UNREACHABLE,
                f"The token request to {authority} did not end as it should. It is tried again.",
            ),
            # A result names the Secrets that were tried, so only mailers that name them alike share it.
            shared="" if step.asked else f"{self._name(aim)} {aim.credential!r}",
        )

    async def _token(self, key: Key, step: Mint) -> Token | TokenError:
        """A token that was just issued to another mailer, or else a new one. Raises NotLeading."""
        self.lease.check()
        token = None if step.asked else self._recent_token(step.aim)
        if token is not None:
            return token
        try:
            with self.metrics.mint_seconds.time():
                token = await self.entra.mint(step.grant, check=self.lease.check)
        except TokenError as error:
            self.metrics.mints.labels(error.reason).inc()
            log.warning("no token", extra={"mailer": str(key), "reason": error.reason, "error": str(error)})
            return error
        self.metrics.mints.labels(conditions.TOKEN_ISSUED).inc()
        self._forget_old()
        self.recent[self._name(step.aim)] = _Recent(token, step.aim.credential)
        return token

    def _recent_token(self, aim: Aim) -> Token | None:
        """A token of the last minute for the same identity and credential, which names this mailer's own Secret.

        Where mailers name their Secrets differently, and it is not one client secret that each has, none is shared.
        """
        self._forget_old()
        recent = self.recent.get(self._name(aim))
        if recent is None or recent.credential == aim.credential:
            return recent.token if recent else None
        ref = _only_ref(aim.credential)
        return None if ref is None or recent.token.refusals else dataclasses.replace(recent.token, credential_ref=ref)

    def _forget_old(self) -> None:
        now = self.clock.now()
        self.recent = {name: each for name, each in self.recent.items() if _is_shareable(each.token, now)}

    def _name(self, aim: Aim) -> str:
        """A name for all that decides which token a mailer gets. It reveals nothing, and is of this process alone."""
        parts = (aim.identity, aim.authorities or "", fingerprint(aim.credential, salt=self.salt))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _is_shareable(token: Token, now: datetime.datetime) -> bool:
    age, life = now - token.issued_at, token.expires_at - token.issued_at
    return datetime.timedelta(0) <= age < min(SHARED_FOR, life * SHARED_SHARE)


def _only_ref(credential: Credential) -> str | None:
    """Where a single client secret was read; None for any other credential."""
    if isinstance(credential, ClientSecrets) and len(credential.secrets) == 1 and not credential.unreadable:
        return credential.secrets[0].proof.ref
    return None
