"""A mailer's token Secret: the mailer directory, its owner, and what its token was obtained for.

A Secret is ours by its labels, which name the mailer, not by the UID of its owner. So the controller takes over, with
its token, a Secret that was restored from a backup, orphaned, or left by a mailer of the same name. It never writes any
other Secret of that name.
"""

import base64
import dataclasses
import datetime
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from o365mailer_contract import names, settings
from o365mailer_operator.controller.mailer import LARGEST_COUNT, Mailer, Manifest
from o365mailer_operator.token.bearer import BEARER

IDENTITY_ANNOTATION: Final = f"{names.GROUP}/token-identity"
"""A digest of the part of the spec that decides which token it gets."""
CREDENTIAL_ANNOTATION: Final = f"{names.GROUP}/credential-fingerprint"
"""The fingerprint of the credential's content that the token was obtained with (token/credential.py). An annotation is
read with the Secret alone, and unlike a key of the Secret it is not mounted into pods."""
ISSUED_ANNOTATION: Final = f"{names.GROUP}/issued-at"
REFRESH_AT_ANNOTATION: Final = f"{names.GROUP}/refresh-at"
"""When to replace the token. Kept here, so that a restarted controller neither mints nor guesses."""


LONGEST_ANNOTATION: Final = 256
"""Characters of those that are kept in memory. The longest, a fingerprint, has 97."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a token was obtained for, and when. If only the times differ, no new token is needed."""

    identity: str
    fingerprint: str
    """Of the credential's content; empty if unknown."""
    refresh_request: str
    issued_at: datetime.datetime
    refresh_at: datetime.datetime


@dataclasses.dataclass(frozen=True)
class HeldToken:
    """A token, and what it was obtained for."""

    token: str = dataclasses.field(repr=False)
    expires_at: datetime.datetime
    origin: Origin


@dataclasses.dataclass(frozen=True)
class Directory:
    """The content of a token Secret of ours that can be used as it is."""

    token: str = dataclasses.field(repr=False)
    settings: settings.Settings
    authorities: str | None
    origin: Origin

    @property
    def expires_at(self) -> datetime.datetime:
        """When the token expires; long ago if the document does not say."""
        return self.settings.expires_at or datetime.datetime.min.replace(tzinfo=datetime.UTC)

    @property
    def held(self) -> HeldToken:
        """The directory without what a spec says, which can be made again from the spec."""
        return HeldToken(self.token, self.expires_at, self.origin)


def is_ours(secret: Manifest, *, mailer: str | None) -> bool:
    """Whether we may write this Secret: its labels say that it is this mailer's, or with None the controller's own."""
    labels = secret["metadata"].get("labels") or {}
    return bool(labels.get(names.MANAGED_BY_LABEL) == names.MANAGED_BY and labels.get(names.MAILER_LABEL) == mailer)


def is_owned(secret: Manifest, *, mailer: Mailer) -> bool:
    """Whether the Secret goes with this mailer, and not earlier with a former one of the same name."""
    owners = secret["metadata"].get("ownerReferences") or []
    return [owner.get("uid") for owner in owners] == [mailer.metadata.uid]


def read_directory(secret: Manifest) -> Directory | None:
    """The directory in a Secret of ours; None if a part is missing or broken, which a new token fixes."""
    annotations = secret["metadata"].get("annotations") or {}
    try:
        files = SecretFiles(secret)
        authorities = files.get(names.CA_FILE)
        return Directory(
            token=_token(files[names.TOKEN_FILE]),
            settings=_settings(files[names.SETTINGS_FILE]),
            authorities=authorities.decode() if authorities is not None else None,
            origin=Origin(
                identity=_short(annotations[IDENTITY_ANNOTATION]),
                fingerprint=_short(annotations.get(CREDENTIAL_ANNOTATION, "")),
                refresh_request=_short(annotations.get(names.REFRESH_ANNOTATION, "")),
                issued_at=_instant(annotations[ISSUED_ANNOTATION]),
                refresh_at=_instant(annotations[REFRESH_AT_ANNOTATION]),
            ),
        )
    except (KeyError, ValueError):
        return None


def revision_in(secret: Manifest | None) -> int:
    """The revision of the Secret's document; 0 if there is none to read."""
    if secret is None:
        return 0
    try:
        document: Any = msgspec.json.decode(SecretFiles(secret)[names.SETTINGS_FILE])
        revision = int(document["revision"])
    except (KeyError, ValueError, TypeError, RecursionError):
        return 0
    return revision if 0 <= revision <= LARGEST_COUNT else 0


def compose(*, mailer: Mailer, files: Mapping[str, bytes], origin: Origin, replacing: Manifest | None) -> Manifest:
    """The Secret to write. It takes from `replacing` the resourceVersion and what others added to its metadata."""
    before = replacing["metadata"] if replacing else {}
    metadata = {
        "name": names.token_secret_name(mailer.metadata.name),
        "namespace": mailer.metadata.namespace,
        "labels": (before.get("labels") or {})
        | {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.MAILER_LABEL: mailer.metadata.name},
        "annotations": (before.get("annotations") or {}) | _annotations(origin),
        "ownerReferences": [mailer.owner_reference],
    }
    if replacing:
        metadata["resourceVersion"] = before["resourceVersion"]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": replacing["type"] if replacing else "Opaque",  # immutable, and a restored one may differ
        "data": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }


class SecretFiles(Mapping[str, bytes]):
    """A Secret's keys, each decoded when it is read: a Secret may have 60,000 of them.

    Reading a key that is not base64 raises ValueError; the API server never serves one.
    """

    def __init__(self, secret: Manifest) -> None:
        self._data: Mapping[str, str] = secret.get("data") or {}

    def __getitem__(self, key: str) -> bytes:
        return base64.b64decode(self._data[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)


def _token(content: bytes) -> str:
    """The token, if it could be one: it is kept in memory, and a user who may edit Secrets may have written it."""
    text = content.decode("ascii")
    if not BEARER.fullmatch(text):
        raise ValueError("not a bearer token")
    return text


def _short(text: str) -> str:
    if len(text) > LONGEST_ANNOTATION:
        raise ValueError("longer than the controller writes it")
    return text


def _settings(document: bytes) -> settings.Settings:
    """The document, if the controller could have written it: a person who may edit Secrets may have edited this one."""
    read = settings.decode(document)
    if read.revision > LARGEST_COUNT:
        raise ValueError("a revision that the controller never wrote")
    return read


def _annotations(origin: Origin) -> dict[str, str]:
    return {
        IDENTITY_ANNOTATION: origin.identity,
        CREDENTIAL_ANNOTATION: origin.fingerprint,
        names.REFRESH_ANNOTATION: origin.refresh_request,
        ISSUED_ANNOTATION: origin.issued_at.isoformat(),
        REFRESH_AT_ANNOTATION: origin.refresh_at.isoformat(),
    }


def _instant(text: str) -> datetime.datetime:
    instant = datetime.datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("an instant without a time zone")
    return instant
