"""Keeps the controller from serving mailers whose members the API server prunes (token/schema.py).

A mailer that lost `recipients.redirectTo` looks like one that never had it. So a controller does not lead while the
schema that the API server serves lacks a member: an older controller, which knows the older CRD, can go on.

The API server serves a changed schema some seconds late, in either direction: after an upgrade of the CRD it shows the
old one at first, and after a rollback the new one. So the leader looks often in the first minute, and once a minute
later, when a person may have applied an older CRD. If it finds one, the process ends: what its watch has delivered may
be pruned already. It starts again, and waits.
"""

import asyncio
import logging
from typing import Final

from o365mailer_operator.clock import Clock
from o365mailer_operator.controller.cluster import Cluster
from o365mailer_operator.controller.cluster_errors import Absent, ClusterError, Forbidden
from o365mailer_operator.controller.mailer import Status
from o365mailer_operator.token.schema import OUTDATED, REMEDY, pruned, served_members, spec_members

SOON: Final = 2.0
"""Seconds between two looks while members are missing, and in the leader's first minute."""
SETTLED: Final = 60.0
"""Seconds after which the API server serves a schema as it is, and between two looks from then on."""

log = logging.getLogger(__name__)


class SchemaOutdated(Exception):
    """The API server prunes members of mailers."""


class ServedSchema:
    """The schema of O365Mailers as the API server serves it."""

    def __init__(self, cluster: Cluster, *, clock: Clock) -> None:
        self.cluster = cluster
        self.clock = clock
        self.missing: frozenset[str] | None = None
        """The members that this version reads or writes, and the schema lacks; None while that is unknown."""

    @property
    def problem(self) -> str:
        """What is wrong, and how to fix it; empty if nothing is known to be."""
        return f"{OUTDATED}. {pruned(self.missing)} {REMEDY}" if self.missing else ""

    async def wait(self) -> None:
        """Return once no member is missing."""
        while True:
            await self._look()
            if self.missing is not None and not self.missing:
                return
            await asyncio.sleep(SOON)

    async def guard(self) -> None:
        """Look again and again, for ever. Raises SchemaOutdated."""
        began = self.clock.monotonic()
        while True:
            await self._look()
            if self.problem:
                raise SchemaOutdated(self.problem)
            await asyncio.sleep(SETTLED if self.clock.monotonic() - began >= SETTLED else SOON)

    async def _look(self) -> None:
        before = self.missing
        try:
            self.missing = needed_members() - served_members(await self.cluster.schema())
        except Absent:
            self.missing = frozenset()  # no CRD, no mailers: the watch waits for it (main.py)
        except Forbidden as error:
            if before is None:  # a cluster may withhold its schema from ServiceAccounts
                log.warning("the schema of O365Mailers is not checked", extra={"error": str(error)})
            self.missing = frozenset()
        except ClusterError as error:
            log.warning("the schema of O365Mailers cannot be read", extra={"error": str(error)})
        if self.missing and self.missing != before:
            log.error("the CRD is outdated", extra={"error": self.problem})
        elif before and not self.missing:
            log.info("the CRD is up to date")


def needed_members() -> frozenset[str]:
    """The members of a mailer that the controller reads or writes."""
    return spec_members() | {f"status.{member}" for member in Status.__struct_encode_fields__}
