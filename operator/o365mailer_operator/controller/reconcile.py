"""One reconcile of a mailer: look, decide, write. The pure modules decide; this one reads and writes.

A reconcile waits for nothing but the API server. What is slow is an errand (errands.py): a reconcile begins it, leaves
everything as it is, and ends. When the errand has brought something, the mailer is due again, and its next reconcile
uses it.

A reconcile that finds nothing to do costs the API server little (observer.py), but what it sees may be old, so it may
only end in doing nothing. If it calls for a write or an errand, everything is read again from etcd and decided again.
The first reconcile since this process began to lead, and the one after an errand, read from etcd at once. So a watch
cache that lags never causes a second token request and never undoes our own write.
"""

import dataclasses
import datetime
import logging
import math
import random
from collections.abc import Callable
from typing import Any, Final

from o365mailer_contract import names
from o365mailer_operator.controller import conditions
from o365mailer_operator.controller.cluster import MAILERS, SECRETS
from o365mailer_operator.controller.cluster_errors import Absent, ClusterError, Conflict, Forbidden, Refused
from o365mailer_operator.controller.conditions import SECRET_WRITE_REFUSED, Problem
from o365mailer_operator.controller.context import Context
from o365mailer_operator.controller.decision import Found, Hold, Keep, Leave, Mint, NewToken, Observed, decide
from o365mailer_operator.controller.errands import Errands
from o365mailer_operator.controller.events import Recorder
from o365mailer_operator.controller.logins import Logins
from o365mailer_operator.controller.mailer import Condition, Key, Mailer, Manifest, Status, encode_status
from o365mailer_operator.controller.mailer_cache import MailerCache
from o365mailer_operator.controller.metrics import Ends
from o365mailer_operator.controller.observer import Observer
from o365mailer_operator.controller.outcome import Minted, Outcome, outcome_of
from o365mailer_operator.controller.pauses import (
    AT_ONCE,
    EARLIEST_SHARE,
    ready_pause,
    unready_jittered,
    unready_pause,
)
from o365mailer_operator.controller.token_requests import TokenRequests
from o365mailer_operator.controller.token_secret import HeldToken, SecretFiles
from o365mailer_operator.exchange.excess import excess_note, excess_rights
from o365mailer_operator.token.bearer import Token, claims_of, roles_in
from o365mailer_operator.token.certificate import TLS_CERTIFICATE, certificate_end
from o365mailer_operator.token.errors import InvalidSpec, TokenError

PASSES: Final = 4
"""The most passes over one mailer in one reconcile, if other clients write to it meanwhile."""

log = logging.getLogger(__name__)


class Unconfirmed(Exception):
    """What was read may be old, and it calls for an act: read again."""


@dataclasses.dataclass
class Memory:
    """What this process remembers of one mailer."""

    changed_at: float
    """When the mailer last changed, on the monotonic clock."""
    confirmed: int | None = None
    """The term of the Lease in which the mailer was last read from etcd; None if the next reconcile is to do that."""
    uid: str = ""
    kept: HeldToken | None = dataclasses.field(default=None, repr=False)
    """The token that the Secret of the mailer with this UID last had. If the Secret is deleted or spoilt, it is made
    again with it, whether Entra answers or not."""
    untold: NewToken | None = None
    """The token that the status does not tell of yet. If the write of the status fails, the next one tells of it."""


class Reconciler:
    """Reconciles mailers. It asks the Lease before each act, which raises NotLeading while it is not held.

    `due` makes a mailer due at once.
    """

    def __init__(self, context: Context, *, cache: MailerCache, due: Callable[[Key], None]) -> None:
        options = context.options
        self.cluster = context.cluster
        self.lease = context.lease
        self.metrics = context.metrics
        self.clock = context.clock
        self.cache = cache
        self.interval = options.reconcile_interval
        """The most seconds between two reconciles of a mailer."""
        self.allowed = options.allowed_hosts
        self.operator = options.namespace
        self.observer = Observer(context.cluster, cache=cache, interval=self.interval, clock=context.clock)
        self.due = due
        self.tokens = TokenRequests(context, due=self._wake)
        self.logins = Logins(context, due=self._wake)
        self.canary = options.canary
        self.errands: tuple[Errands[Any], ...] = (self.tokens.errands, self.logins.errands)
        """Of every kind."""
        self.recorder = Recorder(context.cluster, instance=options.identity, clock=context.clock.now)
        self.random: Callable[[], float] = random.random
        self.memories: dict[Key, Memory] = {}

    def changed(self, key: Key) -> float:
        """The watch has delivered a changed mailer: it is reconciled often for a while.

        Gives the seconds since the change before; for a new mailer, infinity.
        """
        now, known = self.clock.monotonic(), self.memories.get(key)
        self._memory(key).changed_at = now
        return now - known.changed_at if known else math.inf

    async def reconcile(self, key: Key) -> float | None:
        """Seconds until the next reconcile, or None where the mailer is gone. Raises ClusterError, NotLeading."""
        term = self.lease.terms
        anew = self._memory(key).confirmed != term
        called = [errands for errands in self.errands if errands.is_called(key)]
        try:
            for _ in range(PASSES):
                mailer = await self.observer.mailer(key, anew=anew)
                if mailer is None and anew:
                    self.forget(key)
                    return None
                if mailer is None:  # a cache that lags may not have it yet
                    anew = True
                    continue
                try:
                    delay = await self._pass(key, mailer, anew=anew)
                except Absent:  # the mailer went while we wrote its status: the next pass finds nothing
                    anew = True
                except (Conflict, Unconfirmed):
                    anew = True  # something else wrote in between: read again, and keep what an errand brought
                else:
                    if anew and delay is not None:
                        self._memory(key).confirmed = term
                    return delay
            return AT_ONCE
        finally:
            for errands in called:
                errands.passed(key)

    def forget(self, key: Key) -> None:
        """The mailer is gone: nothing of it stays in memory."""
        self.memories.pop(key, None)
        for errands in self.errands:
            errands.forget(key)
        self.cache.drop(key)
        self.metrics.forget(key)

    def _wake(self, key: Key) -> None:
        """An errand has ended, or may begin: the reconcile that follows writes or begins something, so it reads from
        etcd at once."""
        if key in self.memories:
            self.memories[key].confirmed = None
        self.due(key)

    def _memory(self, key: Key) -> Memory:
        return self.memories.setdefault(key, Memory(changed_at=self.clock.monotonic()))

    async def _pass(self, key: Key, mailer: Mailer, *, anew: bool) -> float | None:
        async with self.observer.place:
            observed = await self._observe(key, mailer, anew=anew)
            step = decide(observed, allowed=self.allowed)
            ends = ends_of(observed)
            # The step has what it needs of them.
            observed = dataclasses.replace(
                observed,
                secrets=Found(),
                config_maps=Found(),
                credential_end=ends.client_secret or ends.certificate,
            )
        if isinstance(step, Leave):
            self.forget(key)
            return None
        minted = self._minted(key, step, anew=anew) if isinstance(step, Mint) else None
        outcome = outcome_of(observed, step, minted, random=self.random())
        acts = outcome.secret is not None or outcome.status != mailer.status
        if not anew and (acts or self.logins.is_wanted(key, outcome.login)):
            raise Unconfirmed
        outcome = await self._write_secret(observed, step, minted, outcome)
        refused = await self._write_status(mailer, outcome.status)
        if isinstance(minted, TokenError) or (anew and _needs_no_token(step)):
            self.tokens.errands.drop(key)  # it is told, or cannot be, or would be told much later as if it were new
        if refused:
            return self._pause_unwritten(key, outcome)
        if observed.tried is not None:
            self.logins.errands.drop(key)
        if outcome.login is not None and self.logins.is_wanted(key, outcome.login):
            self.lease.check()
            self.logins.start(key, outcome.login)
        await self._tell_excess(mailer, outcome)
        if outcome.told:
            self._memory(key).untold = None
        elif anew:  # a cache that lags shows the token before
            self._memory(key).untold = outcome.new
        suspended = not isinstance(observed.spec, InvalidSpec) and observed.spec.suspend
        ends = dataclasses.replace(ends, refresh=None if suspended else outcome.refresh_at)
        self.metrics.tell(mailer, outcome.status, ready=outcome.ready, suspended=suspended, ends=ends)
        return self._pause(key, outcome)

    async def _observe(self, key: Key, mailer: Mailer, *, anew: bool) -> Observed:
        memory, errand = self._memory(key), self.tokens.errands.find(key)
        observed = await self.observer.observe(mailer, max_age=0.0 if anew else self._max_age(mailer))
        if memory.uid != mailer.metadata.uid:
            memory.uid, memory.kept, memory.untold = mailer.metadata.uid, None, None
        if observed.directory is not None and observed.directory.held != memory.kept:
            memory.kept = observed.directory.held
        return dataclasses.replace(
            observed,
            operator=self.operator,
            attempted=self.tokens.errands.last_begun(key),
            errand=errand.aim if errand else None,
            kept=memory.kept,
            untold=memory.untold,
            canary=self.canary,
            tried=self.logins.result(key),
            login_begun=self.logins.errands.last_begun(key),
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

    def _minted(self, key: Key, step: Mint, *, anew: bool) -> Minted:
        """What the token request for this step has brought; None while it is under way, which may begin here."""
        errand = self.tokens.errands.find(key)
        if errand is not None and errand.aim == step.aim.digest:
            token = errand.result
            if not isinstance(token, Token) or self.clock.now() < token.expires_at:
                return token
        if not anew:
            raise Unconfirmed
        self.lease.check()
        self.tokens.start(key, step)
        return None

    async def _write_secret(
        self, observed: Observed, step: Hold | Keep | Mint, minted: Minted, outcome: Outcome
    ) -> Outcome:
        """The outcome after the Secret was written, or was refused."""
        if outcome.secret is None:
            return outcome
        self.lease.check()
        key = observed.mailer.key
        self._memory(key).untold = outcome.new  # before the write: its answer may be lost
        write = self.cluster.create if observed.token_secret is None else self.cluster.replace
        try:
            await write(SECRETS, outcome.secret, namespace=key.namespace)
        except (Forbidden, Refused) as error:
            log.warning("the token Secret is refused", extra={"mailer": str(key), "error": str(error)})
            return self._refused(observed, step, minted, error)
        self._memory(key).kept = outcome.held
        if isinstance(minted, Token):
            self.tokens.errands.drop(key)
        revision = outcome.status.token_revision
        log.info("the token Secret is written", extra={"mailer": str(key), "revision": revision})
        return outcome

    def _refused(self, observed: Observed, step: Hold | Keep | Mint, minted: Minted, error: ClusterError) -> Outcome:
        namespace = observed.mailer.metadata.namespace
        command = names.grant_command(namespace=namespace, operator=self.operator)
        grant = f" An administrator of the namespace gives the rights with: {command}" if _lacks_right(error) else ""
        refusal = TokenError(
            SECRET_WRITE_REFUSED,
            f"The API server does not take the token Secret ({error}). Check quotas, admission policies and the "
            "controller's rights in this namespace; delete a Secret of this name that is immutable or of another type."
            f"{grant}",
        )
        observed = dataclasses.replace(observed, kept=None)  # it is not in the Secret
        if minted is not None:
            return outcome_of(observed, step, refusal, random=self.random())
        return outcome_of(observed, Hold(Problem.of(refusal)), None, random=self.random())

    async def _tell_excess(self, mailer: Mailer, outcome: Outcome) -> None:
        """Rights that mail does not need: a metric, and an Event when a token has other ones than the one before."""
        roles = roles_in(claims_of(outcome.held.token)) if outcome.held else None
        excess = excess_rights(roles)
        self.metrics.tell_excess(mailer.key, len(excess) if outcome.held else None)
        before = mailer.status.condition(conditions.TOKEN_ISSUED)
        if outcome.told and excess and not (before and excess_note(excess) in before.message):
            await self.recorder.record(mailer, conditions.excess_roles(excess_note(excess)))

    async def _write_status(self, mailer: Mailer, status: Status) -> bool:
        """Whether the API server refused it for good. Raises ClusterError."""
        if status == mailer.status:
            return False
        self.lease.check()
        change = {
            "metadata": {"resourceVersion": mailer.metadata.resource_version},
            "status": encode_status(status),
        }
        key = mailer.key
        try:
            written = await self.cluster.patch_status(MAILERS, change, name=key.name, namespace=key.namespace)
        except (Forbidden, Refused) as error:
            log.error("the status is refused", extra={"mailer": str(key), "error": str(error)})
            return True
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
        return False

    def _pause(self, key: Key, outcome: Outcome) -> float:
        if outcome.ready:
            pause = ready_pause(interval=self.interval, random=self.random())
        else:
            pause = self._unready_pause(key, outcome.status.condition(conditions.READY))
            pause = unready_jittered(pause, random=self.random())
        if outcome.look_at is None:
            return pause
        return min(pause, max(AT_ONCE, (outcome.look_at - self.clock.now()).total_seconds()))

    def _pause_unwritten(self, key: Key, outcome: Outcome) -> float:
        """The status remembers failed attempts. Where it cannot be written, waiting keeps their pause."""
        due = outcome.status.next_refresh if outcome.status.failed_attempts else None
        wait = (due - self.clock.now()).total_seconds() if due is not None else 0.0
        return max(self._unready_pause(key, None), wait)


def _needs_no_token(step: Hold | Keep | Mint) -> bool:
    """Whether a token that was requested earlier is not wanted any more."""
    if isinstance(step, Keep):
        return step.problem is None and step.until is None
    return isinstance(step, Hold)


def _lacks_right(error: ClusterError) -> bool:
    """Whether RBAC refused it. A quota and most admission plugins answer 403 as well."""
    return isinstance(error, Forbidden) and 'cannot create resource "secrets"' in str(error).replace("update", "create")


def ends_of(observed: Observed) -> Ends:
    """When the mailer's credential ends. That of a certificate is known after it has ended, too."""
    spec = observed.spec
    if isinstance(spec, InvalidSpec):
        return Ends()
    secret, pair = spec.credential.client_secret, spec.credential.certificate
    return Ends(
        client_secret=secret.expires_at if secret else None,
        certificate=_certificate_end(observed.secrets.objects.get(pair.secret_ref.name)) if pair else None,
    )


def _certificate_end(secret: Manifest | None) -> datetime.datetime | None:
    try:
        return certificate_end(SecretFiles(secret)[TLS_CERTIFICATE]) if secret else None
    except (KeyError, ValueError):
        return None
