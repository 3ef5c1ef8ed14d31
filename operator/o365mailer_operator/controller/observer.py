"""Reads what a decision about a mailer depends on.

A read costs the API server little: the watch has delivered the mailer, and what it names comes from the API server's
cache. What the cache shows may be old. So a read can be asked for anew, and then everything comes from etcd.
"""

import asyncio
import functools
import secrets
from collections.abc import Iterable
from typing import Final

from o365mailer_contract import names
from o365mailer_operator.clock import Clock
from o365mailer_operator.controller.cluster import CONFIG_MAPS, MAILERS, SECRETS, Cluster, Resource
from o365mailer_operator.controller.cluster_errors import Forbidden
from o365mailer_operator.controller.data_reader import DataReader
from o365mailer_operator.controller.decision import Found, Observed, read_spec
from o365mailer_operator.controller.mailer import Key, Mailer, Manifest, decode_mailer
from o365mailer_operator.controller.mailer_cache import MailerCache
from o365mailer_operator.controller.service_accounts import ServiceAccounts
from o365mailer_operator.token.credential import ServiceAccount
from o365mailer_operator.token.errors import InvalidSpec, ServiceAccountError
from o365mailer_operator.token.grant import config_maps_needed, secrets_needed
from o365mailer_operator.token.spec import Spec

READS_AT_ONCE: Final = 8
"""Mailers whose Secrets are in memory: reading them takes milliseconds, and a mailer may name five Secrets of 1 MiB."""


class Observer:
    """Reads mailers and what their specs name. `interval` is the most seconds between two reconciles of a mailer."""

    def __init__(self, cluster: Cluster, *, cache: MailerCache, interval: float, clock: Clock) -> None:
        self.cluster = cluster
        self.cache = cache
        self.clock = clock
        self.reader = DataReader(cluster, longest=interval, clock=clock.monotonic)
        self.service_accounts = ServiceAccounts(cluster)
        self.place = asyncio.Semaphore(READS_AT_ONCE)
        """Hold it from `observe` until the Secrets are out of use."""

    async def mailer(self, key: Key, *, anew: bool) -> Mailer | None:
        """The mailer as the watch delivered it or, `anew`, as etcd has it now. None if there is none.

        A large one is not kept, and comes from the API server's cache.

        Raises ClusterError.
        """
        cached = self.cache.mailers.get(key)
        if cached is not None and not anew:
            return cached
        manifest = await self.cluster.find(MAILERS, name=key.name, namespace=key.namespace, cached=not anew)
        return decode_mailer(manifest) if manifest is not None else None

    async def observe(self, mailer: Mailer, *, max_age: float) -> Observed:
        """The mailer with what its spec names, as that was at most `max_age` seconds ago; with 0, as etcd has it now.

        Raises ClusterError.
        """
        spec = read_spec(mailer)
        namespace = mailer.metadata.namespace
        read = functools.partial(self._read, namespace=namespace, max_age=max_age)
        held, config_maps = Found(), Found()
        if not (isinstance(spec, InvalidSpec) or spec.suspend or mailer.deleting):
            held = await read(SECRETS, secrets_needed(spec))
            config_maps = await read(CONFIG_MAPS, config_maps_needed(spec))
        name, token_secret = names.token_secret_name(mailer.metadata.name), None
        try:
            token_secret = await self.cluster.find(SECRETS, name=name, namespace=namespace, cached=max_age > 0)
        except Forbidden:
            held = Found(held.objects, held.forbidden | {name})
        return Observed(
            mailer=mailer,
            spec=spec,
            secrets=held,
            config_maps=config_maps,
            token_secret=token_secret,
            now=self.clock.now(),
            salt=secrets.token_bytes(16),
            service_account=await self._service_account(mailer, spec, cached=max_age > 0),
        )

    async def _service_account(
        self, mailer: Mailer, spec: Spec | InvalidSpec, *, cached: bool
    ) -> ServiceAccount | ServiceAccountError | None:
        if isinstance(spec, InvalidSpec) or spec.suspend or mailer.deleting or not spec.credential.workload_identity:
            return None
        name = spec.credential.workload_identity.service_account_ref.name
        return await self.service_accounts.read(name, namespace=mailer.metadata.namespace, cached=cached)

    async def _read(self, kind: Resource, wanted: Iterable[str], *, namespace: str, max_age: float) -> Found:
        found: dict[str, Manifest | None] = {}
        forbidden = set()
        for name in wanted:
            try:
                found[name] = await self.reader.read(kind, name, namespace=namespace, max_age=max_age)
            except Forbidden:
                forbidden.add(name)
        return Found(found, frozenset(forbidden))
