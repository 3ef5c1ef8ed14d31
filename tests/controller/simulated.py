"""The controller's own reconciles of many mailers, on an API that counts, in virtual time.

Every look, pause and write is the controller's code; the API server is a dictionary, Entra mints at once, and each
mailer names a Secret of its own, which is the dearest case. The Lease's renewals and the comparison with a LIST are
added by their intervals. `benchmarks/controller.py` counts on a real API server, which takes minutes.
"""

import asyncio
import base64
import datetime
import random
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, cast

from o365mailer_operator.clock import Clock
from o365mailer_operator.controller import agreement, lease
from o365mailer_operator.controller.cluster import MAILERS, Cluster, Resource
from o365mailer_operator.controller.context import Context
from o365mailer_operator.controller.lease import Lease
from o365mailer_operator.controller.mailer import Key, Manifest
from o365mailer_operator.controller.mailer_cache import MailerCache
from o365mailer_operator.controller.metrics import Metrics
from o365mailer_operator.controller.options import parse
from o365mailer_operator.controller.queue import DueQueue
from o365mailer_operator.controller.reconcile import Reconciler
from o365mailer_operator.exchange.login import Credentials, Target
from o365mailer_operator.exchange.result import LoginResult, Stage
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.entra import Entra
from o365mailer_operator.token.grant import Grant

START: Final = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
MINUTE: Final = 60.0
SETTLED: Final = 9 * MINUTE
"""The requests of the tenth minute are counted. Token refreshes are not in it."""


async def requests_a_minute(mailers: int, *, present: bool) -> float:
    """Requests in the tenth minute after the mailers were created. `present`: whether their Secrets exist."""
    simulated = Simulated(present=present)
    for number in range(mailers):
        simulated.add(f"mailer-{number}")
    await simulated.until(SETTLED)
    before = simulated.api.count
    await simulated.until(SETTLED + MINUTE)
    options = parse([], {})
    renewals = MINUTE / (options.lease_duration * lease.RETRY_SHARE)  # a PUT each
    return simulated.api.count - before + renewals + MINUTE / agreement.INTERVAL


@dataclass
class CountingApi:
    """The part of a Cluster that the controller calls, on a dictionary."""

    objects: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    count: int = 0
    versions: int = 0

    async def find(self, resource: Resource, *, name: str, **_: Any) -> Manifest | None:
        """Return one object."""
        self.count += 1
        return self.objects.get((resource.plural, name))

    async def create(self, resource: Resource, manifest: Manifest, **_: Any) -> Manifest:
        """Store a new object, or a new version of one."""
        self.count += 1
        return self.put(resource.plural, manifest)

    replace = create

    async def patch_status(self, resource: Resource, change: Manifest, *, name: str, **_: Any) -> Manifest:
        """Store a status."""
        self.count += 1
        return self.put(resource.plural, self.objects[resource.plural, name] | {"status": _present(change["status"])})

    def put(self, plural: str, manifest: Manifest) -> Manifest:
        """Store with the next resourceVersion."""
        self.versions += 1
        stored = manifest | {"metadata": manifest["metadata"] | {"resourceVersion": str(self.versions)}}
        self.objects[plural, stored["metadata"]["name"]] = stored
        return stored


def _present(document: Manifest) -> Manifest:
    """Without the members that are null."""
    members = ((name, _present(value) if isinstance(value, dict) else value) for name, value in document.items())
    return {name: value for name, value in members if value is not None}


async def accepted(target: Target, _: Credentials) -> LoginResult:
    """A login that works, in place of Exchange's."""
    return LoginResult(host=target.host, port=target.port, stage=Stage.DONE)


class Simulated:
    """A controller whose clock jumps to the next due time."""

    def __init__(self, *, present: bool) -> None:
        self.present = present
        self.now = 0.0
        self.api = CountingApi()
        self.cache = MailerCache()
        self.queue = DueQueue(clock=lambda: self.now)
        # Seeded: the same counts in each run.
        self.random = random.Random(20261128)
        context = Context(
            options=parse([], {}),
            cluster=cast("Cluster", self.api),
            lease=cast("Lease", SimpleNamespace(terms=1, check=lambda: None)),
            metrics=Metrics(self.queue, leading=lambda: True, agreed_at=lambda: 0.0),
            clock=Clock(now=self.wall, monotonic=lambda: self.now),
        )
        self.reconciler = Reconciler(context, cache=self.cache, due=self.queue.put)
        self.reconciler.tokens.entra = cast("Entra", self)
        self.reconciler.logins.attempt = accepted
        self.reconciler.random = self.random.random

    def wall(self) -> datetime.datetime:
        """The virtual time."""
        return START + datetime.timedelta(seconds=self.now)

    async def mint(self, _: Grant, **__: object) -> Token:
        """A token for an hour, in place of Entra's."""
        hour = datetime.timedelta(hours=1)
        issued = self.wall()
        return Token(value="a.b.c", issued_at=issued, expires_at=issued + hour, refresh_at=None, credential_ref="s/k")

    def add(self, name: str) -> None:
        """Add a mailer, as the watch reports it, and the Secret that it names."""
        metadata = {"name": name, "namespace": "app", "uid": name, "generation": 1}
        spec = {
            "tenantId": "contoso.com",
            "clientId": "22222222-2222-4222-8222-222222222222",
            "mailbox": "noreply@contoso.com",
            "credential": {"clientSecret": {"secretRefs": [{"name": f"{name}-entra", "key": "secret"}]}},
        }
        mailer = self.api.put(MAILERS.plural, {"metadata": metadata, "spec": spec})
        if self.present:
            data = {"secret": base64.b64encode(b"for the test").decode()}
            self.api.put("secrets", {"metadata": {"name": f"{name}-entra", "namespace": "app"}, "data": data})
        self.cache.deliver(mailer, deleted=False)
        key = Key("app", name)
        self.reconciler.changed(key)
        self.queue.put(key, delay=self.random.random() * 10)

    async def until(self, end: float) -> None:
        """Reconcile every due mailer until `end` seconds have passed."""
        while True:
            taken = self.queue.take()
            if not taken:
                due = self.queue.next_due()
                if due is None or self.now + due > end:
                    self.now = end
                    return
                self.now += due
            for key in taken:
                self.queue.done(key, delay=await self.reconciler.reconcile(key))
            await self.errands()

    async def errands(self) -> None:
        """Let every token request and login end."""
        while tasks := [task for errands in self.reconciler.errands for task in errands.tasks]:
            await asyncio.gather(*tasks)
            await asyncio.sleep(0)  # for the callbacks of the tasks
