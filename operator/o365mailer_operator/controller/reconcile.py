"""One reconcile of a mailer: read, decide, mint, write. The thin half; the pure modules decide.

A look costs the API server little: the watch has delivered the mailer, and Secrets come from the API server's cache.
What such a look sees may be old, so it may only end in doing nothing. When it calls for a write or a token, and when it
is the first look since this process began to lead, everything is read anew from etcd and decided anew. So a watch cache
that lags never causes a second token request and never undoes our own write.
"""

import asyncio
import dataclasses
import datetime
import logging
import random
import secrets
import time
from collections.abc import Callable
from typing import Final

from o365mailer_contract import names
from o365mailer_operator.controller import conditions
from o365mailer_operator.controller.cluster import MAILERS, SECRETS, Cluster
from o365mailer_operator.controller.cluster_errors import Absent, Conflict, Forbidden, Refused
from o365mailer_operator.controller.conditions import SECRET_WRITE_REFUSED, Problem
from o365mailer_operator.controller.decision import Aim, Hold, Keep, Leave, Mint, Observed, decide, read_spec
from o365mailer_operator.controller.events import Recorder
from o365mailer_operator.controller.mailer import Condition, Key, Mailer, Manifest, Status, decode_mailer, encode_status
from o365mailer_operator.controller.mailer_cache import MailerCache
from o365mailer_operator.controller.metrics import Metrics
from o365mailer_operator.controller.outcome import Minted, Outcome, outcome_of
from o365mailer_operator.controller.secret_reader import SecretReader
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.credential import secrets_needed
from o365mailer_operator.token.endpoints import AllowedHosts
from o365mailer_operator.token.entra import Entra
from o365mailer_operator.token.errors import InvalidSpec, TokenError
from o365mailer_operator.token.spec import Spec

EARLIEST_SHARE: Final = 0.75
LATEST_SHARE: Final = 0.95
"""Of the interval, at random: never later than the interval, and no two mailers in step for long."""
UNREADY_JITTER: Final = 0.1
"""Of a pause, to either side."""
AT_ONCE: Final = 1.0
"""Seconds until a mailer is looked at again that has changed under our hands."""
LOOKS_AT_ONCE: Final = 8
"""At Secrets, of all mailers: a look takes milliseconds, and may hold five Secrets of 1 MiB."""
LOOKS: Final = 4
"""At one mailer in one reconcile, while others write to it."""

log = logging.getLogger(__name__)


def _salt() -> bytes:
    return secrets.token_bytes(16)


def unready_pause(age: float, *, interval: float) -> float:
    """Seconds between two looks at a mailer that is not Ready, `age` seconds after it changed. Pure.

    At the default interval of 60 s: 10 s for two minutes, then half as long again each time; up to 25 s until five
    minutes have passed, so that a Secret which comes by then is seen within 30 s, and up to the interval after that.
    """
    first, early, settled = interval / 6, 2 * interval, 5 * interval
    if age < early:
        return first
    # 1.5, 1.5², … times `first` add up to this as a function of the time that has passed.
    growing = 1.5 * first + (age - early) / 2
    return min(growing, 2.5 * first if age < settled else interval)


class Unconfirmed(Exception):
    """A look at what may be old calls for an act: look anew."""


@dataclasses.dataclass(frozen=True)
class Reconciler:
    """Reconciles mailers. At most `interval` seconds pass between two reconciles of one.

    `check` raises NotLeading while another replica may be at work; it is asked before each act.
    """

    cluster: Cluster
    entra: Entra
    allowed: AllowedHosts
    recorder: Recorder
    metrics: Metrics
    interval: float
    cache: MailerCache
    secrets: SecretReader
    check: Callable[[], None]
    term: Callable[[], int]
    """Counts how often this process began to lead."""
    clock: Callable[[], datetime.datetime]
    random: Callable[[], float] = random.random
    salt: Callable[[], bytes] = _salt
    monotonic: Callable[[], float] = time.monotonic
    confirmed: dict[Key, int] = dataclasses.field(default_factory=dict)
    """The term in which a mailer was last read from etcd."""
    changed_at: dict[Key, float] = dataclasses.field(default_factory=dict)
    """When a mailer last changed, of `monotonic`."""
    unwritten: dict[Key, tuple[Aim, Token]] = dataclasses.field(default_factory=dict, repr=False)
    """Tokens that the API server did not take, or was away for: written later, rather than minted again."""
    looking: asyncio.Semaphore = dataclasses.field(default_factory=lambda: asyncio.Semaphore(LOOKS_AT_ONCE))
    """Held while Secrets are in memory: one may have 1 MiB, and a reconcile may last as long as Entra does."""
    attempted: dict[Key, datetime.datetime] = dataclasses.field(default_factory=dict)
    """When Entra was last asked for a mailer: the status, which says it too, may be refused or written in between."""

    def changed(self, key: Key) -> None:
        """The watch has delivered another mailer than before: it is looked at often for a while."""
        self.changed_at[key] = self.monotonic()

    async def reconcile(self, key: Key) -> float | None:
        """Seconds until the next one, or None where the mailer is gone. Raises ClusterError, NotLeading."""
        term = self.term()
        anew = self.confirmed.get(key) != term
        for _ in range(LOOKS):
            mailer = await self._mailer(key, anew=anew)
            if mailer is None:
                self.forget(key)
                return None
            try:
                delay = await self._settle(key, mailer, anew=anew)
            except Absent:  # the mailer went while we wrote its status: the next look finds nothing
                anew = True
            except (Conflict, Unconfirmed):
                anew = True  # a write in between: look again, with what was minted still in hand
            else:
                if anew and delay is not None:
                    self.confirmed[key] = term
                return delay
        return AT_ONCE

    def forget(self, key: Key) -> None:
        """A mailer that is no more leaves nothing behind here."""
        for memory in (self.unwritten, self.attempted, self.confirmed, self.changed_at):
            memory.pop(key, None)
        self.cache.drop(key)
        self.metrics.forget(key)

    async def _mailer(self, key: Key, *, anew: bool) -> Mailer | None:
        cached = self.cache.mailers.get(key)
        if cached is not None and not anew:
            return cached
        manifest = await self.cluster.find(MAILERS, name=key.name, namespace=key.namespace)
        return decode_mailer(manifest) if manifest is not None else None

    async def _settle(self, key: Key, mailer: Mailer, *, anew: bool) -> float | None:
        async with self.looking:
            observed = await self._look(mailer, anew=anew)
            step = decide(observed, allowed=self.allowed)
            observed = dataclasses.replace(observed, secrets={})  # the step has what it needs of them
        if isinstance(step, Leave):
            self.forget(key)
            return None
        if isinstance(step, Mint) and not anew:
            raise Unconfirmed
        minted = await self._mint(key, step) if isinstance(step, Mint) else None
        outcome = outcome_of(observed, step, minted, random=self.random())
        if not anew and (outcome.secret is not None or outcome.status != mailer.status):
            raise Unconfirmed
        outcome = await self._write_secret(observed, step, outcome)
        try:
            await self._write_status(mailer, outcome.status)
        except (Forbidden, Refused) as error:
            log.error("the status is refused", extra={"mailer": str(key), "error": str(error)})
            return self._pause_unwritten(key, outcome)
        self.metrics.tell(mailer, outcome.status, ready=outcome.ready, secret_expires_at=_secret_end(observed.spec))
        return self._pause(key, outcome)

    async def _look(self, mailer: Mailer, *, anew: bool) -> Observed:
        spec = read_spec(mailer)
        wanted = () if isinstance(spec, InvalidSpec) or spec.suspend or mailer.deleting else secrets_needed(spec)
        found: dict[str, Manifest | None] = {}
        forbidden = set()
        max_age = 0.0 if anew else self._max_age(mailer)
        namespace = mailer.metadata.namespace
        for name in wanted:
            try:
                found[name] = await self.secrets.read(name, namespace=namespace, max_age=max_age)
            except Forbidden:
                forbidden.add(name)
        token_secret = names.token_secret_name(mailer.metadata.name)
        return Observed(
            mailer=mailer,
            spec=spec,
            secrets=found,
            forbidden=frozenset(forbidden),
            token_secret=await self.cluster.find(SECRETS, name=token_secret, namespace=namespace, cached=not anew),
            now=self.clock(),
            salt=self.salt(),
            attempted=None if mailer.key in self.unwritten else self.attempted.get(mailer.key),
        )

    def _max_age(self, mailer: Mailer) -> float:
        """Seconds. Less than the pause between two looks at this mailer: only reads for other mailers are shared."""
        ready = mailer.status.condition(conditions.READY)
        if ready is not None and ready.status == "True":
            return self.interval * EARLIEST_SHARE
        return self._unready_pause(mailer.key, ready) / 2

    def _unready_pause(self, key: Key, ready: Condition | None) -> float:
        age = self.monotonic() - self.changed_at.setdefault(key, self.monotonic())
        if ready is not None:
            age = min(age, max(0.0, (self.clock() - ready.last_transition_time).total_seconds()))
        return unready_pause(age, interval=self.interval)

    async def _mint(self, key: Key, step: Mint) -> Minted:
        aim, token = self.unwritten.get(key, (None, None))
        if token is not None and aim == step.aim and self.clock() < token.expires_at:
            return token
        self.attempted[key] = self.clock()
        with self.metrics.mint_seconds.time():
            try:
                token = await self.entra.mint(step.grant, check=self.check)
            except TokenError as error:
                self.metrics.mints.labels(error.reason).inc()
                log.warning("no token", extra={"mailer": str(key), "reason": error.reason, "error": str(error)})
                return error
        self.metrics.mints.labels(conditions.TOKEN_ISSUED).inc()
        self.unwritten[key] = (step.aim, token)
        return token

    async def _write_secret(self, observed: Observed, step: Hold | Keep | Mint, outcome: Outcome) -> Outcome:
        """The outcome that holds after the Secret was written, or was refused."""
        if outcome.secret is None:
            return outcome
        self.check()
        namespace = observed.mailer.metadata.namespace
        write = self.cluster.create if observed.token_secret is None else self.cluster.replace
        try:
            await write(SECRETS, outcome.secret, namespace=namespace)
        except (Forbidden, Refused) as error:
            return self._refused(observed, step, str(error))
        self.unwritten.pop(observed.mailer.key, None)
        log.info(
            "the token Secret is written",
            extra={"mailer": str(observed.mailer.key), "revision": outcome.status.token_revision},
        )
        return outcome

    def _refused(self, observed: Observed, step: Hold | Keep | Mint, words: str) -> Outcome:
        refusal = TokenError(
            SECRET_WRITE_REFUSED,
            f"The API server does not take the token Secret ({words}). Check quotas, admission policies and the "
            "controller's rights in this namespace; delete a Secret of this name that is immutable or of another type.",
        )
        log.warning("the token Secret is refused", extra={"mailer": str(observed.mailer.key), "error": words})
        if isinstance(step, Mint):
            return outcome_of(observed, step, refusal, random=self.random())
        return outcome_of(observed, Hold(Problem.of(refusal)), None, random=self.random())

    async def _write_status(self, mailer: Mailer, status: Status) -> None:
        if status == mailer.status:
            return
        self.check()
        change = {
            "metadata": {"resourceVersion": mailer.metadata.resource_version},
            "status": encode_status(status),
        }
        metadata = mailer.metadata
        written = await self.cluster.patch_status(MAILERS, change, name=metadata.name, namespace=metadata.namespace)
        self.cache.wrote(written)
        for condition in conditions.changes(mailer.status, status):
            log.info(
                "a condition changed",
                extra={
                    "mailer": str(mailer.key),
                    "condition": condition.type,
                    "status": condition.status,
                    "reason": condition.reason,
                },
            )
            await self.recorder.record(mailer, condition)

    def _pause(self, key: Key, outcome: Outcome) -> float:
        if outcome.ready:
            pause = self.interval * (EARLIEST_SHARE + (LATEST_SHARE - EARLIEST_SHARE) * self.random())
        else:
            pause = self._unready_pause(key, outcome.status.condition(conditions.READY))
            pause *= 1 - UNREADY_JITTER + 2 * UNREADY_JITTER * self.random()
        due = [each for each in (outcome.status.next_refresh, outcome.look_at) if each]
        return min(pause, *(max(AT_ONCE, (each - self.clock()).total_seconds()) for each in due)) if due else pause

    def _pause_unwritten(self, key: Key, outcome: Outcome) -> float:
        """The status is where failed attempts are remembered; without it, their pause is kept by not looking."""
        due = outcome.status.next_refresh if outcome.status.failures else None
        wait = (due - self.clock()).total_seconds() if due is not None else 0.0
        return max(self._unready_pause(key, None), wait)


def _secret_end(spec: Spec | InvalidSpec) -> datetime.datetime | None:
    if isinstance(spec, InvalidSpec) or spec.credential.client_secret is None:
        return None
    return spec.credential.client_secret.expires_at
