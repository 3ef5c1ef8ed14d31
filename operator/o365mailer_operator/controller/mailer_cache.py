"""The mailers as the watch delivered them (an informer's cache): a look at one needs no request for it. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from o365mailer_contract import names
from o365mailer_operator.controller.mailer import Key, Mailer, Manifest, decode_mailer


class Version(NamedTuple):
    """What asks for a look when it changes. Our own writes of the status change none of it."""

    uid: str | None
    generation: int | None
    deletion_timestamp: str | None
    refresh_request: str | None


Difference = tuple[Version | None, Version | None]
"""A mailer as a LIST shows it, and as the watch delivered it; None where it does not exist."""


class MailerCache:
    """All mailers of the watch, each in its newest version."""

    def __init__(self) -> None:
        self.mailers: dict[Key, Mailer] = {}
        self.delivered: dict[Key, Version] = {}
        """By the watch alone: what this process read or wrote itself says nothing about the watch."""

    def deliver(self, manifest: Manifest, *, deleted: bool) -> bool:
        """Take an event of the watch. Whether it asks for a look."""
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
        """Take the answer to a write of the status: the next look must see it, and its event may come later."""
        key = key_of(manifest["metadata"])
        if key in self.mailers:  # or it was deleted meanwhile
            self._keep(key, decode_mailer(manifest))

    def drop(self, key: Key) -> None:
        """Forget a mailer that the API server no longer has, although the watch has not said so."""
        self.mailers.pop(key, None)

    def differences(self, listed: Mapping[Key, Version]) -> Iterator[tuple[Key, Difference]]:
        """Where a LIST and the watch do not agree."""
        for key in listed.keys() | self.delivered.keys():
            pair = (listed.get(key), self.delivered.get(key))
            if pair[0] != pair[1]:
                yield key, pair

    def _keep(self, key: Key, mailer: Mailer) -> None:
        known = self.mailers.get(key)
        # Versions of one cluster are comparable: https://kubernetes.io/docs/reference/using-api/api-concepts/
        # (resource versions), read 2026-11-28.
        if known is None or int(mailer.metadata.resource_version) >= int(known.metadata.resource_version):
            self.mailers[key] = mailer


def key_of(metadata: Mapping[str, Any]) -> Key:
    """The mailer that an object's metadata names."""
    return Key(metadata["namespace"], metadata["name"])


def version_of(metadata: Mapping[str, Any]) -> Version:
    """The version that an object's metadata tells."""
    return Version(
        uid=metadata.get("uid"),
        generation=metadata.get("generation"),
        deletion_timestamp=metadata.get("deletionTimestamp"),
        refresh_request=(metadata.get("annotations") or {}).get(names.REFRESH_ANNOTATION),
    )
