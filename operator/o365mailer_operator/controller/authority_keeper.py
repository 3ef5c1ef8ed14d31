"""Keeps the webhook's authority Secret, and the `caBundle` of its one MutatingWebhookConfiguration.

Level-triggered: each step reads both, decides (authority.advance) and writes what differs, the Secret first. The keeper
takes a step after each change of the configuration, so a `caBundle` that `kubectl replace` wiped is back at once, and
every few seconds for what time brings. Every write carries the resourceVersion that was read.
"""

import asyncio
import base64
import datetime
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from o365mailer_contract import names
from o365mailer_operator.clock import Clock
from o365mailer_operator.controller.cluster import SECRETS, WEBHOOKS, Cluster
from o365mailer_operator.controller.cluster_errors import ClusterError, Conflict
from o365mailer_operator.controller.mailer import Manifest
from o365mailer_operator.controller.token_secret import is_ours
from o365mailer_operator.pki import authority
from o365mailer_operator.pki.authority import Authorities

PUBLICATION: Final = 60.0
"""Seconds that the configuration must have carried a bundle before its newest authority signs: the API servers of a
cluster learn of the bundle from their watches, one after the other."""
PAUSE: Final = 15.0
"""Seconds between two steps, and before a broken watch is opened again."""

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class AuthorityKeeper:
    """Two keepers at once do not harm each other, since every write can lose with a Conflict."""

    cluster: Cluster
    namespace: str
    """Of the Secret."""
    configuration: str
    """The MutatingWebhookConfiguration's name."""
    clock: Clock
    leading: Callable[[], bool] = lambda: True
    """Whether this replica may write now. Its resourceVersion stops a write that began while it could."""
    ends: Callable[[datetime.datetime], object] = lambda _: None
    """Is told after each step when the authority that signs ends."""
    lifetime: datetime.timedelta = authority.LIFETIME
    publication: float = PUBLICATION
    pause: float = PAUSE
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _published: bytes = field(default=b"", init=False)
    _published_since: float = field(default=0.0, init=False)

    async def keep(self) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_configuration(), name="authority-watch")
            tasks.create_task(self._follow_time(), name="authority-clock")

    async def _follow_configuration(self) -> None:
        while True:
            try:
                async for _ in self.cluster.watch(WEBHOOKS, name=self.configuration):
                    await self.attempt()
                await asyncio.sleep(min(1.0, self.pause))  # some API server may end every watch at once
            except ClusterError as error:
                log.warning("the webhook configuration cannot be watched", extra={"error": str(error)})
                await asyncio.sleep(self.pause)

    async def _follow_time(self) -> None:
        while True:
            await self.attempt()
            await asyncio.sleep(self.pause)

    async def attempt(self) -> None:
        """One step. A failure is logged, and the next step tries again."""
        async with self._turn:
            if not self.leading():
                return
            try:
                await self._step()
            except Conflict as error:
                log.debug("another writer was quicker", extra={"error": str(error)})
            except ClusterError as error:
                log.warning("the webhook's authority cannot be kept", extra={"error": str(error)})

    async def _step(self) -> None:
        secret = await self.cluster.find(SECRETS, name=names.CA_SECRET, namespace=self.namespace)
        if secret is not None and not is_ours(secret, mailer=None):
            log.error(
                "the Secret of the webhook's authority is not ours: delete it, it is then made anew",
                extra={"secret": f"{self.namespace}/{names.CA_SECRET}"},
            )
            return
        configuration = await self.cluster.find(WEBHOOKS, name=self.configuration)
        present = authority.read(secret.get("data") or {}) if secret else None
        wanted = authority.advance(
            present,
            now=self.clock.now(),
            lifetime=self.lifetime,
            published=present is not None and self._is_published(configuration, present.bundle()),
            trusted=authority.trusted_by(configuration),
        )
        if wanted != present:
            await self._store(secret, wanted)
        if configuration and configuration.get("webhooks") and not authority.carried(configuration, wanted.bundle()):
            await self._publish(configuration, wanted)
        self.ends(wanted.signer.certificate.not_valid_after_utc)

    def _is_published(self, configuration: Manifest | None, bundle: bytes) -> bool:
        """Whether the configuration has had this bundle, and no other, for `publication` seconds."""
        if not authority.carried(configuration, bundle):
            self._published = b""
            return False
        if self._published != bundle:
            self._published, self._published_since = bundle, self.clock.monotonic()
        return self.clock.monotonic() - self._published_since >= self.publication

    async def _store(self, secret: Manifest | None, wanted: Authorities) -> None:
        manifest: Manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {"name": names.CA_SECRET, "labels": {names.MANAGED_BY_LABEL: names.MANAGED_BY}},
            "data": authority.write(wanted),
        }
        if secret is None:
            await self.cluster.create(SECRETS, manifest, namespace=self.namespace)
        else:
            manifest |= {"type": secret["type"], "metadata": secret["metadata"]}
            await self.cluster.replace(SECRETS, manifest, namespace=self.namespace)
        log.info("the webhook's authority changed", extra=_described(wanted))

    async def _publish(self, configuration: Manifest, wanted: Authorities) -> None:
        bundle = base64.b64encode(wanted.bundle()).decode()
        webhooks = [
            {**each, "clientConfig": {**each["clientConfig"], "caBundle": bundle}} for each in configuration["webhooks"]
        ]
        version = {"resourceVersion": configuration["metadata"]["resourceVersion"]}
        change = {"metadata": version, "webhooks": webhooks}
        await self.cluster.patch(WEBHOOKS, change, name=self.configuration)
        log.info("the webhook configuration trusts", extra=_described(wanted))


def _described(authorities: Authorities) -> dict[str, object]:
    return {
        "signer": f"{authorities.signer.serial:x}",
        "successor": f"{authorities.successor.serial:x}" if authorities.successor else None,
        "retired": [f"{each.serial_number:x}" for each in authorities.retired],
    }
