"""Keeps the mailer directory fresh: gets a token, writes it, waits until the next is due, forever."""

import asyncio
import datetime
from collections.abc import Callable, Mapping
from typing import Final

from o365mailer_cli.document import Document, named_hosts
from o365mailer_cli.errors import WrongSecret
from o365mailer_cli.object_source import Content, ObjectSource
from o365mailer_cli.run.progress import Progress
from o365mailer_cli.run.swap import SwappedDirectory
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.directory import files_of, settings_of
from o365mailer_operator.token.entra import Entra
from o365mailer_operator.token.errors import (
    TOKEN_NOT_WRITTEN,
    ConfigMapError,
    CredentialError,
    ServiceAccountError,
    TokenError,
)
from o365mailer_operator.token.grant import Grant, config_maps_needed, grant_of, secrets_needed
from o365mailer_operator.token.schedule import refresh_due, wait_after_failure

LOOK_EVERY: Final = 5.0
"""Seconds between checks of the wall clock (a laptop may have slept) and, after a failure, of the Secrets."""


class Keeper:
    """Keeps one mailer's token in one directory."""

    def __init__(
        self,
        mailer: Document,
        *,
        source: ObjectSource,
        entra: Entra,
        directory: SwappedDirectory,
        progress: Progress,
        random: Callable[[], float],
    ) -> None:
        self.mailer, self.source, self.entra = mailer, source, entra
        self.directory, self.progress = directory, progress
        self.now, self.random = progress.now, random

    def grant(self) -> Grant:
        """What would be sent to Entra now. Raises WrongSecret, which says where the Secret would have to be."""
        try:
            return self._grant()
        except (CredentialError, ConfigMapError, ServiceAccountError) as error:
            place = self.source.place(error)
            raise WrongSecret(f"{error} Here that is {place}." if place else str(error)) from error

    async def keep(self) -> None:
        """Keep the token fresh. Never returns: it reports a failure and tries again."""
        failures = 0
        while True:
            before = self._read()
            try:
                token = await self._mint()
            except TokenError as error:
                failures += 1
                wait = wait_after_failure(error, failures=failures, random=self.random())
                self.progress.failed(error, wait=wait)
                await self._until(self.now() + datetime.timedelta(seconds=wait), unless_changed=before)
                if self._read() != before:
                    failures = 0
                continue
            failures = 0
            self.progress.token(token)
            await self._until(
                refresh_due(
                    issued_at=token.issued_at,
                    expires_at=token.expires_at,
                    refresh_at=token.refresh_at,
                    uid=self.mailer.name,
                )
            )

    async def _mint(self) -> Token:
        grant = self._grant()
        token = await self.entra.mint(grant)
        document = settings_of(self.mailer.spec, expires_at=token.expires_at, revision=self.directory.revision() + 1)
        files = files_of(document, token=token.value, authorities=grant.submission_authorities)
        try:
            self.directory.replace(files, now=self.now())
        except OSError as error:
            raise TokenError(
                TOKEN_NOT_WRITTEN,
                f"The token cannot be written to {self.directory.path}: {error.strerror}. It is tried again.",
            ) from None
        return token

    def _grant(self) -> Grant:
        spec = self.mailer.spec
        return grant_of(spec, self.source, allowed=named_hosts(spec.endpoints))

    async def _until(
        self, due: datetime.datetime, *, unless_changed: Mapping[tuple[str, str], Content | None] | None = None
    ) -> None:
        while (left := (due - self.now()).total_seconds()) > 0:
            await asyncio.sleep(min(left, LOOK_EVERY))
            if unless_changed is not None and self._read() != unless_changed:
                return

    def _read(self) -> Mapping[tuple[str, str], Content | None]:
        """The Secrets and ConfigMaps that a token request reads, to see whether they change."""
        spec = self.mailer.spec
        try:
            secrets = {("Secret", name): self.source.secret(name) for name in secrets_needed(spec)}
            return secrets | {("ConfigMap", name): self.source.config_map(name) for name in config_maps_needed(spec)}
        except (CredentialError, ConfigMapError):
            return {}
