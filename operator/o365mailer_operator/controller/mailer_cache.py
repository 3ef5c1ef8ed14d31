"""The mailers as the watch delivered them (an informer's cache), so that a reconcile need not read its mailer. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from o365mailer_operator.controller.mailer import Key, Mailer, Manifest, decode_mailer, refresh_request_in

LARGEST_KEPT: Final = 8 << 10
"""Bytes of a mailer's spec and status. A usual one has 2 KiB. A larger one is read from the API server each time, so
that 1,000 specs of the largest size, 50 KiB, do not fill the memory."""


class Version(NamedTuple):
    """A change of any of these needs a reconcile. Our own writes of the status change none of them."""

    uid: str | None
    generation: int | None
    deletion_timestamp: str | None
    refresh_request: str | None


Difference = tuple[Version | None, Version | None]
"""A mailer as a LIST shows it, and as the watch delivered it; None where it does not exist."""


class MailerCache:
    """The newest version of each mailer, unless it is large."""

    def __init__(self) -> None:
        self.mailers: dict[Key, Mailer] = {}
        self.delivered: dict[Key, Version] = {}
        """By the watch alone, and not by what this process read or wrote itself."""

    def deliver(self, manifest: Manifest, *, deleted: bool) -> bool:
        """Take an event of the watch. True if the mailer needs a reconcile."""
        key, version = key_of(manifest["metadata"]), version_of(manifest["metadata"])
        if deleted:
            self.mailers.pop(key, None)
            self.delivered.pop(key, None)
            return True
        self._keep(key, decode_mailer(manifest))
        changed = self.delivered.get(key) != version
        self.delivered[key] = version
        return changed

    def wrote(self, manifest: Manifest) -> None:
        """Take the answer to a write of the status: the next reconcile must see it, and its event may come later."""
        key = key_of(manifest["metadata"])
        if key in self.mailers:  # it may be deleted by now
            self._keep(key, decode_mailer(manifest))

    def drop(self, key: Key) -> None:
        """Forget a mailer that the API server no longer has, before the watch says so."""
        self.mailers.pop(key, None)

    def differences(self, listed: Mapping[Key, Version]) -> Iterator[tuple[Key, Difference]]:
        """The mailers on which a LIST and the watch do not agree."""
        for key in listed.keys() | self.delivered.keys():
            pair = (listed.get(key), self.delivered.get(key))
            if pair[0] != pair[1]:
                yield key, pair

    def _keep(self, key: Key, mailer: Mailer) -> None:
        known = self.mailers.get(key)
        # Versions of one cluster are comparable: https://kubernetes.io/docs/reference/using-api/api-concepts/
        # (resource versions), read 2026-11-28.
        if known is not None and int(mailer.metadata.resource_version) < int(known.metadata.resource_version):
            return
        if len(msgspec.json.encode((mailer.spec, mailer.status))) > LARGEST_KEPT:
            self.mailers.pop(key, None)
        else:
            self.mailers[key] = mailer


def key_of(metadata: Mapping[str, Any]) -> Key:
    """The key of the mailer with this metadata."""
    return Key(metadata["namespace"], metadata["name"])


def version_of(metadata: Mapping[str, Any]) -> Version:
    """The version of the mailer with this metadata."""
    return Version(
        uid=metadata.get("uid"),
        generation=metadata.get("generation"),
        deletion_timestamp=metadata.get("deletionTimestamp"),
        refresh_request=refresh_request_in(metadata),
    )
