"""Tokens from Entra through MSAL. The only module that touches it.

MSAL builds the requests, signs the assertions and reads the good answers. Its other features are off: instance
discovery (an extra call to the public cloud after each failure, which masks the error), its token cache (the caller
keeps the last good token until its real end) and its cache of errors (which replays a refusal for a minute after the
secret was corrected). So each attempt has a new application; two requests an hour are not worth a cache.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

import msal

from o365mailer_operator.clock import utc_now
from o365mailer_operator.token.bearer import BEARER, Token, claims_of, clock_warning, roles_in
from o365mailer_operator.token.credential import Proof, ServiceAccount
from o365mailer_operator.token.errors import (
    ENTRA_ANSWER_INVALID,
    ENTRA_UNREACHABLE,
    SERVICE_ACCOUNT_UNREADABLE,
    EntraError,
    ServiceAccountError,
    TokenError,
)
from o365mailer_operator.token.grant import Grant
from o365mailer_operator.token.wire import Wire

READ_TIMEOUT: Final = 10.0
"""Seconds without a byte from Entra, which usually answers in a few tenths."""
ATTEMPT_LIMIT: Final = 30.0
"""Seconds for discovery and token request together."""

LONGEST_LIFETIME: Final = 7 * 86400
"""Seconds. Entra's longest token lives 28 hours (continuous access evaluation). A longer one is a mistake, and an
unbounded number can overflow a date."""

Clock = Callable[[], datetime.datetime]
RequestToken = Callable[[ServiceAccount, str], Awaitable[str]]
"""A new token of a ServiceAccount for an audience. Raises ServiceAccountError."""
Result = TypeVar("Result")


class Entra:
    """Mints tokens. One instance for the whole process, used from one event loop.

    `request_token` asks the API server for a ServiceAccount's token; None where there is no API server. `proxy` is the
    URL of an HTTPS proxy; the environment is ignored. One application in one tenant has one request at a time;
    different applications never wait for each other.
    """

    def __init__(
        self,
        *,
        request_token: RequestToken | None = None,
        proxy: str | None = None,
        timeout: float = READ_TIMEOUT,
        limit: float = ATTEMPT_LIMIT,
        clock: Clock = utc_now,
    ) -> None:
        self.request_token = request_token
        self.proxy = proxy
        self.timeout = timeout
        self.limit = limit
        self.clock = clock
        self.flights: WeakValueDictionary[tuple[str, ...], asyncio.Lock] = WeakValueDictionary()

    async def mint(self, grant: Grant, *, check: Callable[[], None] = lambda: None) -> Token:
        """A new token, never a cached one.

        `check` is called before each request, which may have waited for another one. What it raises ends the mint.

        Raises TokenError: of an expired certificate, of a host that discovery named, of Entra.
        """
        key = (grant.endpoints.authority, grant.client_id, grant.endpoints.scope)
        flight = self.flights.setdefault(key, asyncio.Lock())
        async with flight:
            return await grant.credential.acquire(_Attempt(self, grant, check))


@dataclasses.dataclass(frozen=True)
class _Attempt:
    """What a credential gets a token with."""

    entra: Entra
    grant: Grant
    check: Callable[[], None]

    @property
    def now(self) -> datetime.datetime:
        return self.entra.clock()

    async def ask(self, proof: Proof) -> Token:
        """Raises TokenError."""
        self.check()
        asked_at, limit = self.now, self.entra.limit
        wire = Wire(
            allowed=self.grant.allowed,
            authorities=self.grant.authorities,
            proxy=self.entra.proxy,
            timeout=self.entra.timeout,
            presented=proof.presented,
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                result = await in_daemon_thread(lambda: _acquire(self.grant, proof, wire), name="entra")
            return _token_in(result, asked_at=asked_at, ref=proof.ref)
        raise EntraError(
            ENTRA_UNREACHABLE,
            f"{self.grant.endpoints.authority} gave no whole answer within {limit:g} s. It is tried again.",
        )

    async def service_account_token(self, account: ServiceAccount, audience: str) -> str:
        """Raises ServiceAccountError."""
        if self.entra.request_token is None:
            raise ServiceAccountError(
                SERVICE_ACCOUNT_UNREADABLE,
                f"There is no API server here that gives tokens of the ServiceAccount {account.name}.",
                service_account=account.name,
            )
        self.check()
        return await self.entra.request_token(account, audience)


async def in_daemon_thread(call: Callable[[], Result], *, name: str) -> Result:
    """What `call` returns or raises.

    Not asyncio.to_thread: its pool has a handful of workers, which a few hanging tenants would fill, and the
    interpreter waits for them when it ends. Cancelling this leaves the thread to end by itself; its result is dropped.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type] # no error: it is the call's result

    def run() -> None:
        result: Result | None = None
        failure: BaseException | None = None
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future


def _acquire(grant: Grant, proof: Proof, wire: Wire) -> dict[str, Any]:
    """MSAL's result, blocking. Raises TokenError and nothing else."""
    try:
        application = msal.ConfidentialClientApplication(
            grant.client_id,
            authority=grant.endpoints.authority,
            client_credential=proof.msal,
            http_client=wire,
            instance_discovery=False,
            azure_region=False,  # MSAL_FORCE_REGION would lead to another host
        )
        result: object = application.acquire_token_for_client([grant.endpoints.scope])
        if isinstance(result, dict):
            return result
        problem = type(result).__name__
    except TokenError:
        raise
    except Exception as error:  # noqa: BLE001 - MSAL raises what its libraries raise, with the request inside
        problem = type(error).__name__
    finally:
        wire.close()
    # Raised here, so that it is not chained to an error that holds the request.
    raise EntraError(
        ENTRA_ANSWER_INVALID,
        f"The answer of {grant.endpoints.authority} made no sense ({problem}). Check spec.authority.url.",
    )


def _token_in(result: dict[str, Any], *, asked_at: datetime.datetime, ref: str) -> Token:
    value, lifetime, refresh_on = result.get("access_token"), result.get("expires_in"), result.get("refresh_on")
    if not isinstance(value, str) or not BEARER.fullmatch(value):
        raise EntraError(ENTRA_ANSWER_INVALID, "Entra's answer holds no token. It is tried again.")
    if not isinstance(lifetime, int) or not 0 < lifetime <= LONGEST_LIFETIME:
        raise EntraError(
            ENTRA_ANSWER_INVALID, "Entra's answer does not say how long the token lives. It is tried again."
        )
    if not isinstance(refresh_on, int) or not 0 < refresh_on <= asked_at.timestamp() + LONGEST_LIFETIME:
        refresh_on = None
    claims = claims_of(value)
    expires_at = asked_at + datetime.timedelta(seconds=lifetime)
    warning = clock_warning(claims, expires_at)
    return Token(
        value=value,
        issued_at=asked_at,
        expires_at=expires_at,
        refresh_at=datetime.datetime.fromtimestamp(refresh_on, datetime.UTC) if refresh_on else None,
        credential_ref=ref,
        warnings=(warning,) if warning else (),
        roles=roles_in(claims),
    )
