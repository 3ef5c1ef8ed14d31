"""One reconcile of a mailer: read, decide, mint, write. The pure modules decide; this one reads and writes.

A reconcile that finds nothing to do costs the API server little: the watch has delivered the mailer, and Secrets come
from the API server's cache. What the cache shows may be old, so a reconcile may only end in doing nothing. If it calls
for a write or a token, or if it is the first one since this process began to lead, everything is read again from etcd
and decided again. So a watch cache that lags never causes a second token request and never undoes our own write.
"""

import asyncio
import dataclasses
import datetime
import logging
import random
import secrets
from collections.abc import Callable
from typing import Final

from o365mailer_contract import names
from o365mailer_operator.clock import Clock
from o365mailer_operator.controller import conditions
from o365mailer_operator.controller.cluster import MAILERS, SECRETS, Cluster
from o365mailer_operator.controller.cluster_errors import Absent, Conflict, Forbidden, Refused
from o365mailer_operator.controller.conditions import SECRET_WRITE_REFUSED, Problem
from o365mailer_operator.controller.decision import Aim, Hold, Keep, Leave, Mint, Observed, decide, read_spec
from o365mailer_operator.controller.events import Recorder
from o365mailer_operator.controller.lease import Lease
from o365mailer_operator.controller.mailer import Condition, Key, Mailer, Manifest, Status, decode_mailer, encode_status
from o365mailer_operator.controller.mailer_cache import MailerCache
from o365mailer_operator.controller.metrics import Ends, Metrics
from o365mailer_operator.controller.options import Options
from o365mailer_operator.controller.outcome import Minted, Outcome, outcome_of
from o365mailer_operator.controller.secret_reader import SecretReader
from o365mailer_operator.controller.token_secret import SecretFiles
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.certificate import TLS_CERTIFICATE, certificate_end
from o365mailer_operator.token.entra import Entra
from o365mailer_operator.token.errors import InvalidSpec, TokenError
from o365mailer_operator.token.grant import secrets_needed

EARLIEST_SHARE: Final = 0.75
LATEST_SHARE: Final = 0.95
"""The next reconcile comes after a random share of the interval, so that mailers do not stay in step."""
UNREADY_JITTER: Final = 0.1
"""Share of a pause by which it is longer or shorter at random."""
AT_ONCE: Final = 1.0
"""Seconds until the next reconcile of a mailer that other clients keep changing."""
READS_AT_ONCE: Final = 8
"""Mailers whose Secrets are in memory: reading them takes milliseconds, and a mailer may name five Secrets of 1 MiB."""
PASSES: Final = 4
"""The most passes over one mailer in one reconcile, if other clients write to it meanwhile."""

log = logging.getLogger(__name__)


def unready_pause(age: float, *, interval: float) -> float:
    """Seconds until the next reconcile of a mailer that is not Ready, `age` seconds after it changed. Pure.

    At the default interval of 60 s: 10 s for two minutes, then half as long again each time. Up to 25 s until five
    minutes have passed, so that the controller sees a Secret which comes by then within 30 s; up to the interval later.
    """
    first, early, settled = interval / 6, 2 * interval, 5 * interval
    if age < early:
        return first
    # 1.5, 1.5², … times `first` add up to this as a function of the time that has passed.
    growing = 1.5 * first + (age - early) / 2
    return min(growing, 2.5 * first if age < settled else interval)


class Unconfirmed(Exception):
    """What was read may be old, and it calls for an act: read again."""


@dataclasses.dataclass
class Memory:
    """What this process remembers of one mailer."""

    changed_at: float
    """When the mailer last changed, on the monotonic clock."""
    confirmed: int | None = None
    """The term of the Lease in which the mailer was last read from etcd."""
    attempted: datetime.datetime | None = None
    """When Entra was last asked. The status says it too, but its write may be refused or still to come."""
    unwritten: tuple[Aim, Token] | None = dataclasses.field(default=None, repr=False)
    """A token that the API server did not take: it is written later, and no other is minted."""


class Reconciler:
    """Reconciles mailers. It asks the Lease before each act, which raises NotLeading while it is not held."""

    def __init__(
        self, options: Options, cluster: Cluster, *, lease: Lease, cache: MailerCache, metrics: Metrics, clock: Clock
    ) -> None:
        self.cluster = cluster
        self.lease = lease
        self.cache = cache
        self.metrics = metrics
        self.clock = clock
        self.interval = options.reconcile_interval
        """The most seconds between two reconciles of a mailer."""
        self.allowed = options.allowed_hosts
        self.entra = Entra(proxy=options.entra_proxy)
        self.recorder = Recorder(cluster, instance=options.identity, clock=clock.now)
        self.secrets = SecretReader(cluster, longest=self.interval, clock=clock.monotonic)
        self.random: Callable[[], float] = random.random
        self.memories: dict[Key, Memory] = {}
        self.reading = asyncio.Semaphore(READS_AT_ONCE)

    def changed(self, key: Key) -> None:
        """The watch has delivered a changed mailer: it is reconciled often for a while."""
        self._memory(key).changed_at = self.clock.monotonic()

    async def reconcile(self, key: Key) -> float | None:
        """Seconds until the next reconcile, or None where the mailer is gone. Raises ClusterError, NotLeading."""
        term = self.lease.terms
        anew = self._memory(key).confirmed != term
        for _ in range(PASSES):
            mailer = await self._mailer(key, anew=anew)
            if mailer is None:
                self.forget(key)
                return None
            try:
                delay = await self._pass(key, mailer, anew=anew)
            except Absent:  # the mailer went while we wrote its status: the next pass finds nothing
                anew = True
            except (Conflict, Unconfirmed):
                anew = True  # something else wrote in between: read again, and keep what was minted
            else:
                if anew and delay is not None:
                    self._memory(key).confirmed = term
                return delay
        return AT_ONCE

    def forget(self, key: Key) -> None:
        """The mailer is gone: nothing of it stays in memory."""
        self.memories.pop(key, None)
        self.cache.drop(key)
        self.metrics.forget(key)

    def _memory(self, key: Key) -> Memory:
        return self.memories.setdefault(key, Memory(changed_at=self.clock.monotonic()))

    async def _mailer(self, key: Key, *, anew: bool) -> Mailer | None:
        cached = self.cache.mailers.get(key)
        if cached is not None and not anew:
            return cached
        manifest = await self.cluster.find(MAILERS, name=key.name, namespace=key.namespace)
        return decode_mailer(manifest) if manifest is not None else None

    async def _pass(self, key: Key, mailer: Mailer, *, anew: bool) -> float | None:
        async with self.reading:
            observed = await self._observe(mailer, anew=anew)
            step = decide(observed, allowed=self.allowed)
            ends = ends_of(observed)
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
        suspended = not isinstance(observed.spec, InvalidSpec) and observed.spec.suspend
        ends = dataclasses.replace(ends, refresh=None if suspended else outcome.refresh_at)
        self.metrics.tell(mailer, outcome.status, ready=outcome.ready, suspended=suspended, ends=ends)
        return self._pause(key, outcome)

    async def _observe(self, mailer: Mailer, *, anew: bool) -> Observed:
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
        memory = self._memory(mailer.key)
        return Observed(
            mailer=mailer,
            spec=spec,
            secrets=found,
            forbidden=frozenset(forbidden),
            token_secret=await self.cluster.find(SECRETS, name=token_secret, namespace=namespace, cached=not anew),
            now=self.clock.now(),
            salt=secrets.token_bytes(16),
            attempted=None if memory.unwritten else memory.attempted,
        )

    def _max_age(self, mailer: Mailer) -> float:
        """Seconds. Less than the pause between two reconciles of a mailer: only reads for others are shared."""
        ready = mailer.status.condition(conditions.READY)
        if ready is not None and ready.status == "True":
            return self.interval * EARLIEST_SHARE
        return self._unready_pause(mailer.key, ready) / 2

    def _unready_pause(self, key: Key, ready: Condition | None) -> float:
        age = self.clock.monotonic() - self._memory(key).changed_at
        if ready is not None:
            age = min(age, max(0.0, (self.clock.now() - ready.last_transition_time).total_seconds()))
        return unready_pause(age, interval=self.interval)

    async def _mint(self, key: Key, step: Mint) -> Minted:
        memory = self._memory(key)
        aim, token = memory.unwritten or (None, None)
        if token is not None and aim == step.aim and self.clock.now() < token.expires_at:
            return token
        memory.attempted = self.clock.now()
        with self.metrics.mint_seconds.time():
            try:
                token = await self.entra.mint(step.grant, check=self.lease.check)
            except TokenError as error:
                self.metrics.mints.labels(error.reason).inc()
                log.warning("no token", extra={"mailer": str(key), "reason": error.reason, "error": str(error)})
                return error
        self.metrics.mints.labels(conditions.TOKEN_ISSUED).inc()
        memory.unwritten = (step.aim, token)
        return token

    async def _write_secret(self, observed: Observed, step: Hold | Keep | Mint, outcome: Outcome) -> Outcome:
        """The outcome after the Secret was written, or was refused."""
        if outcome.secret is None:
            return outcome
        self.lease.check()
        key = observed.mailer.key
        write = self.cluster.create if observed.token_secret is None else self.cluster.replace
        try:
            await write(SECRETS, outcome.secret, namespace=key.namespace)
        except (Forbidden, Refused) as error:
            log.warning("the token Secret is refused", extra={"mailer": str(key), "error": str(error)})
            return self._refused(observed, step, str(error))
        self._memory(key).unwritten = None
        revision = outcome.status.token_revision
        log.info("the token Secret is written", extra={"mailer": str(key), "revision": revision})
        return outcome

    def _refused(self, observed: Observed, step: Hold | Keep | Mint, words: str) -> Outcome:
        refusal = TokenError(
            SECRET_WRITE_REFUSED,
            f"The API server does not take the token Secret ({words}). Check quotas, admission policies and the "
            "controller's rights in this namespace; delete a Secret of this name that is immutable or of another type.",
        )
        if isinstance(step, Mint):
            return outcome_of(observed, step, refusal, random=self.random())
        return outcome_of(observed, Hold(Problem.of(refusal)), None, random=self.random())

    async def _write_status(self, mailer: Mailer, status: Status) -> None:
        if status == mailer.status:
            return
        self.lease.check()
        change = {
            "metadata": {"resourceVersion": mailer.metadata.resource_version},
            "status": encode_status(status),
        }
        key = mailer.key
        written = await self.cluster.patch_status(MAILERS, change, name=key.name, namespace=key.namespace)
        self.cache.wrote(written)
        for condition in conditions.changes(mailer.status, status):
            log.info(
                "a condition changed",
                extra={
                    "mailer": str(key),
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
        return min(pause, *(max(AT_ONCE, (each - self.clock.now()).total_seconds()) for each in due)) if due else pause

    def _pause_unwritten(self, key: Key, outcome: Outcome) -> float:
        """The status remembers failed attempts. Where it cannot be written, waiting keeps their pause."""
        due = outcome.status.next_refresh if outcome.status.failed_attempts else None
        wait = (due - self.clock.now()).total_seconds() if due is not None else 0.0
        return max(self._unready_pause(key, None), wait)


def ends_of(observed: Observed) -> Ends:
    """When the mailer's credential ends. That of a certificate is known after it has ended, too."""
    spec = observed.spec
    if isinstance(spec, InvalidSpec):
        return Ends()
    secret, pair = spec.credential.client_secret, spec.credential.certificate
    return Ends(
        client_secret=secret.expires_at if secret else None,
        certificate=_certificate_end(observed.secrets.get(pair.secret_ref.name)) if pair else None,
    )


def _certificate_end(secret: Manifest | None) -> datetime.datetime | None:
    try:
        return certificate_end(SecretFiles(secret)[TLS_CERTIFICATE]) if secret else None
    except (KeyError, ValueError):
        return None
