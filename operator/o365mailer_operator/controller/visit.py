"""A visit to one mailer: look, decide, mint, conclude, write. The thin half; what decides is pure and elsewhere."""

import dataclasses
import datetime
import logging
import random
import secrets
from collections.abc import Callable
from typing import Final

from o365mailer_contract import names
from o365mailer_operator.controller import conditions
from o365mailer_operator.controller.cluster import MAILERS, SECRETS, Cluster, Manifest
from o365mailer_operator.controller.cluster_errors import Conflict, Forbidden, Refused
from o365mailer_operator.controller.conclusion import Conclusion, Outcome, conclude
from o365mailer_operator.controller.conditions import Problem, SecretWriteRefused
from o365mailer_operator.controller.decision import Aim, Hold, Keep, Leave, Mint, Situation, decide, read_spec
from o365mailer_operator.controller.events import Recorder
from o365mailer_operator.controller.mailer import Mailer, Status, decode_mailer, encode_status
from o365mailer_operator.controller.metrics import Metrics
from o365mailer_operator.controller.queue import Key
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.credential import secrets_needed
from o365mailer_operator.token.entra import Entra
from o365mailer_operator.token.errors import InvalidSpec, TokenError
from o365mailer_operator.token.hosts import AllowedHosts
from o365mailer_operator.token.spec import Spec

UNREADY_SHARE: Final = 1 / 6
"""A mailer that is not Ready is visited six times as often: 10 s of 60 s."""
EARLIEST_SHARE: Final = 0.75
LATEST_SHARE: Final = 0.95
"""Of the interval, at random: never later than the interval, and no two mailers in step for long."""
AT_ONCE: Final = 1.0
"""Seconds until a mailer is looked at again that has changed under our hands."""
WRITE_ATTEMPTS: Final = 3

log = logging.getLogger(__name__)


def _salt() -> bytes:
    return secrets.token_bytes(16)


@dataclasses.dataclass(frozen=True)
class Visitor:
    """Visits mailers. `interval` seconds pass between two visits at most.

    `check` raises NotLeading while another replica may be at work; it is asked before each act.
    """

    cluster: Cluster
    entra: Entra
    allowed: AllowedHosts
    recorder: Recorder
    metrics: Metrics
    interval: float
    check: Callable[[], None]
    clock: Callable[[], datetime.datetime]
    random: Callable[[], float] = random.random
    salt: Callable[[], bytes] = _salt
    unwritten: dict[Key, tuple[Aim, Token]] = dataclasses.field(default_factory=dict, repr=False)
    """Tokens that the API server did not take, or was away for: written later, rather than minted again."""
    attempted: dict[Key, datetime.datetime] = dataclasses.field(default_factory=dict)
    """When Entra was last asked for a mailer: the status, which says it too, may be refused or written in between."""

    async def visit(self, key: Key) -> float | None:
        """Seconds until the next visit, or None where the mailer is gone. Raises ClusterError, NotLeading."""
        for _ in range(WRITE_ATTEMPTS):
            manifest = await self.cluster.find(MAILERS, name=key.name, namespace=key.namespace)
            if manifest is None:
                self.forget(key)
                return None
            try:
                return await self._settle(key, decode_mailer(manifest))
            except Conflict:
                continue  # somebody wrote in between: look again, with what was minted still in hand
        return AT_ONCE

    def forget(self, key: Key) -> None:
        """A mailer that is no more leaves nothing behind here."""
        self.unwritten.pop(key, None)
        self.attempted.pop(key, None)
        self.metrics.forget(key)

    async def _settle(self, key: Key, mailer: Mailer) -> float | None:
        situation = await self._look(mailer)
        step = decide(situation, allowed=self.allowed)
        if isinstance(step, Leave):
            self.forget(key)
            return None
        outcome = await self._mint(key, step) if isinstance(step, Mint) else None
        conclusion = conclude(situation, step, outcome, random=self.random())
        conclusion = await self._write_secret(situation, step, conclusion)
        try:
            await self._write_status(mailer, conclusion.status)
        except (Forbidden, Refused) as error:
            log.error("the status is refused", extra={"mailer": str(key), "error": str(error)})
            return self._pause_unwritten(conclusion)
        self.metrics.tell(
            mailer, conclusion.status, ready=conclusion.ready, secret_expires_at=_secret_end(situation.spec)
        )
        return self._pause(conclusion)

    async def _look(self, mailer: Mailer) -> Situation:
        spec = read_spec(mailer)
        wanted = () if isinstance(spec, InvalidSpec) or spec.suspend or mailer.deleting else secrets_needed(spec)
        found: dict[str, Manifest | None] = {}
        forbidden = set()
        for name in wanted:
            try:
                found[name] = await self._secret(mailer, name)
            except Forbidden:
                forbidden.add(name)
        return Situation(
            mailer=mailer,
            spec=spec,
            secrets=found,
            forbidden=frozenset(forbidden),
            token_secret=await self._secret(mailer, names.token_secret_name(mailer.metadata.name)),
            now=self.clock(),
            salt=self.salt(),
            attempted=None if mailer.key in self.unwritten else self.attempted.get(mailer.key),
        )

    async def _secret(self, mailer: Mailer, name: str) -> Manifest | None:
        return await self.cluster.find(SECRETS, name=name, namespace=mailer.metadata.namespace)

    async def _mint(self, key: Key, step: Mint) -> Outcome:
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
        self.metrics.mints.labels(conditions.ISSUED).inc()
        self.unwritten[key] = (step.aim, token)
        return token

    async def _write_secret(self, situation: Situation, step: Hold | Keep | Mint, conclusion: Conclusion) -> Conclusion:
        """The conclusion that holds after the Secret was written, or was refused."""
        if conclusion.secret is None:
            return conclusion
        self.check()
        namespace = situation.mailer.metadata.namespace
        write = self.cluster.create if situation.token_secret is None else self.cluster.replace
        try:
            await write(SECRETS, conclusion.secret, namespace=namespace)
        except (Forbidden, Refused) as error:
            return self._refused(situation, step, str(error))
        self.unwritten.pop(situation.mailer.key, None)
        log.info(
            "the token Secret is written",
            extra={"mailer": str(situation.mailer.key), "revision": conclusion.status.token_revision},
        )
        return conclusion

    def _refused(self, situation: Situation, step: Hold | Keep | Mint, words: str) -> Conclusion:
        refusal = SecretWriteRefused(
            f"The API server does not take the token Secret ({words}). Check quotas, admission policies and the "
            "controller's rights in this namespace; delete a Secret of this name that is immutable or of another type."
        )
        log.warning("the token Secret is refused", extra={"mailer": str(situation.mailer.key), "error": words})
        if isinstance(step, Mint):
            return conclude(situation, step, refusal, random=self.random())
        return conclude(situation, Hold(Problem.of(refusal)), None, random=self.random())

    async def _write_status(self, mailer: Mailer, status: Status) -> None:
        if status == mailer.status:
            return
        self.check()
        change = {
            "metadata": {"resourceVersion": mailer.metadata.resource_version},
            "status": encode_status(status),
        }
        await self.cluster.patch_status(MAILERS, change, name=mailer.metadata.name, namespace=mailer.metadata.namespace)
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

    def _pause(self, conclusion: Conclusion) -> float:
        interval = self.interval if conclusion.ready else self.interval * UNREADY_SHARE
        pause = interval * (EARLIEST_SHARE + (LATEST_SHARE - EARLIEST_SHARE) * self.random())
        due = [each for each in (conclusion.status.next_refresh, conclusion.look_at) if each]
        return min(pause, *(max(AT_ONCE, (each - self.clock()).total_seconds()) for each in due)) if due else pause

    def _pause_unwritten(self, conclusion: Conclusion) -> float:
        """The status is where failed attempts are remembered; without it, their pause is kept by not looking."""
        due = conclusion.status.next_refresh if conclusion.status.failures else None
        wait = (due - self.clock()).total_seconds() if due is not None else 0.0
        return max(self.interval * UNREADY_SHARE, wait)


def _secret_end(spec: Spec | InvalidSpec) -> datetime.datetime | None:
    if isinstance(spec, InvalidSpec) or spec.credential.client_secret is None:
        return None
    return spec.credential.client_secret.expires_at
