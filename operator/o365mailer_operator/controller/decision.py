"""What to do about one mailer. Pure: everything is decided from the mailer, the Secrets and the clock.

A decision depends on what the cluster holds: the token's origin in the token Secret's annotations, and failed attempts
in the mailer's status. So a restarted controller, or another replica, continues where the one before it stopped: it
mints nothing again and asks no sooner.
"""

import dataclasses
import datetime
import functools
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from o365mailer_contract import names
from o365mailer_operator.controller.canary import Tried
from o365mailer_operator.controller.conditions import (
    SECRET_NAME_TAKEN,
    SUSPENDED,
    TOKEN_ISSUED,
    Problem,
)
from o365mailer_operator.controller.config_map import ConfigMapFiles
from o365mailer_operator.controller.mailer import Mailer, Manifest
from o365mailer_operator.controller.token_secret import (
    Directory,
    HeldToken,
    Origin,
    SecretFiles,
    is_ours,
    read_directory,
)
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.credential import Credential, ServiceAccount, fingerprint, has_fingerprint
from o365mailer_operator.token.endpoints import AllowedHosts
from o365mailer_operator.token.errors import (
    CONFIG_MAP_UNREADABLE,
    SECRET_UNREADABLE,
    ConfigMapError,
    CredentialError,
    InvalidSpec,
    ServiceAccountError,
    TokenError,
)
from o365mailer_operator.token.grant import Grant, credential_needs, grant_of, token_identity
from o365mailer_operator.token.schedule import LONGEST_RETRY_AFTER
from o365mailer_operator.token.spec import Spec, decode_spec

CLOCK_TOLERANCE: Final = datetime.timedelta(minutes=5)
"""How far the clocks of two nodes may differ. A token from further ahead has its date from a wrong clock, and may have
expired."""
ATTEMPTS_APART: Final = datetime.timedelta(seconds=10)
"""Between two attempts of one mailer. Something may write an annotation, a Secret or the mailer in a loop."""
LONGEST_PAUSE: Final = datetime.timedelta(seconds=LONGEST_RETRY_AFTER) + CLOCK_TOLERANCE
"""After a failure. A longer pause in a status comes from a wrong clock, or from a person who edited it."""


@dataclasses.dataclass(frozen=True)
class Found:
    """The objects of one kind that a spec names."""

    objects: Mapping[str, Manifest | None] = dataclasses.field(default_factory=dict, repr=False)
    """By name; None for one that does not exist."""
    forbidden: frozenset[str] = frozenset()
    """The names of those that the API server does not let us read. Among Secrets the token Secret may be, too."""


@dataclasses.dataclass(frozen=True)
class NewToken:
    """A token that a request has brought, until the status tells of it. The Secret is written first, so that a status
    write which fails leaves a token that nothing tells of."""

    token: Token
    again: bool
    """Whether a person changed the credential, or asked for a refresh: the login is tried again with this token."""


@dataclasses.dataclass(frozen=True)
class Observed:
    """All that a decision depends on."""

    mailer: Mailer
    spec: Spec | InvalidSpec
    secrets: Found
    token_secret: Manifest | None
    now: datetime.datetime
    salt: bytes = dataclasses.field(repr=False)
    """16 random bytes, for the fingerprint of a new token."""
    config_maps: Found = Found()
    service_account: ServiceAccount | ServiceAccountError | None = None
    """The one that the spec names, or why it may not be read; None if it does not exist."""
    credential_end: datetime.datetime | None = None
    """When the certificate, or the client secret by its `expiresAt`, ends; None if unknown."""
    operator: str = ""
    """The namespace that the controller runs in."""
    attempted: datetime.datetime | None = None
    """When this process last asked Entra for this mailer. The status may not say so yet."""
    errand: str | None = None
    """The aim, as its digest, of a token request that is under way or has ended and is not used yet."""
    kept: HeldToken | None = None
    """The token that this process last saw in the mailer's Secret, or wrote into it."""
    untold: NewToken | None = None
    """The last token that this process wrote into the mailer's Secret, if the status may not tell of it yet."""
    canary: bool = True
    """Whether logins at Exchange are tried."""
    tried: Tried | None = dataclasses.field(default=None, repr=False)
    """What the last login has brought, if the status does not say it yet."""
    login_begun: datetime.datetime | None = None
    """When this process last tried one for this mailer."""

    @property
    def ours(self) -> bool:
        """Whether the token Secret may be written: it is ours, or there is none yet."""
        name = self.mailer.metadata.name
        return self.token_secret is None or is_ours(self.token_secret, mailer=name)

    @functools.cached_property
    def directory(self) -> Directory | None:
        """What the token Secret holds, if it is ours and can be used."""
        return read_directory(self.token_secret) if self.token_secret is not None and self.ours else None

    @property
    def held(self) -> HeldToken | None:
        """The mailer's token: the directory's, or the last one where the Secret was deleted or spoilt."""
        return self.directory.held if self.directory else self.kept


@dataclasses.dataclass(frozen=True)
class Aim:
    """What a token is for. A token of another aim is replaced; a failed attempt for this aim is not repeated soon."""

    identity: str
    credential: Credential = dataclasses.field(repr=False)
    authorities: str | None = dataclasses.field(repr=False)
    """The authorities that Entra's certificate may come from. A change is a reason for an attempt, not for a token."""
    refresh_request: str
    key: bytes = dataclasses.field(repr=False)
    """The UIDs of the credential's Secrets, which only a user who may read them knows, or of its ServiceAccount."""

    @functools.cached_property
    def digest(self) -> str:
        """A name for this aim, for the status.

        A user who may read the status but no Secrets learns nothing about the credential from it, not even by guessing:
        its key is random and known from those Secrets alone.
        """
        text = "\0".join((self.identity, self.authorities or "", self.refresh_request))
        content = fingerprint(self.credential, salt=self.key)
        return hmac.new(self.key, f"{content}\0{text}".encode(), hashlib.sha256).hexdigest()[:32]

    def met_by(self, origin: Origin) -> bool:
        """Whether a token of that origin is for this aim."""
        asked = self.refresh_request not in ("", origin.refresh_request)
        return self.identity == origin.identity and not asked and has_fingerprint(self.credential, origin.fingerprint)


@dataclasses.dataclass(frozen=True)
class Leave:
    """The mailer is being deleted: write nothing. The garbage collector deletes its Secret."""


@dataclasses.dataclass(frozen=True)
class Hold:
    """The controller cannot ask for a token, and the mailer directory stays as it is."""

    problem: Problem


@dataclasses.dataclass(frozen=True)
class Keep:
    """The token in the directory stays in use; its settings are brought up to date.

    `problem`: a refresh is due, but an attempt has failed and the next one is not due yet. `until`: another token is
    needed, but the last attempt was less than ATTEMPTS_APART ago.
    """

    spec: Spec
    grant: Grant
    aim: Aim
    problem: Problem | None = None
    until: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class Mint:
    """A token for this aim is needed: use what a token request has brought, or begin one.

    `asked`: the refresh annotation asks for it, so a token that was issued to another mailer does not do.
    """

    spec: Spec
    grant: Grant
    aim: Aim
    asked: bool = False


Step = Leave | Hold | Keep | Mint


def read_spec(mailer: Mailer) -> Spec | InvalidSpec:
    """The mailer's spec, or what is wrong with it (a CRD of another version may accept other specs)."""
    try:
        return decode_spec(mailer.spec)
    except InvalidSpec as error:
        return error


def decide(observed: Observed, *, allowed: AllowedHosts) -> Step:
    """The next step for a mailer."""
    mailer, spec = observed.mailer, observed.spec
    if mailer.deleting:
        return Leave()
    if isinstance(spec, InvalidSpec):
        return Hold(Problem.of(spec))
    if not observed.ours:
        return Hold(_not_ours(observed))
    if spec.suspend:
        return Hold(_SUSPENSION)
    held = _Held(observed)
    try:
        grant = grant_of(spec, held, allowed=allowed)
        held.secret(names.token_secret_name(mailer.metadata.name))
    except TokenError as error:
        return Hold(Problem.of(error))
    aim = aim_of(observed, spec, grant)
    if not _token_wanted(observed.held, aim, observed.now):
        return Keep(spec, grant, aim)
    if failure := _failure_to_wait_out(observed, aim):
        return Keep(spec, grant, aim, failure)
    until = _too_soon_until(observed, aim) if observed.errand != aim.digest else None
    if until:
        return Keep(spec, grant, aim, last_failure(observed), until)
    served = observed.held.origin.refresh_request if observed.held else ""
    return Mint(spec, grant, aim, asked=aim.refresh_request not in ("", served))


def aim_of(observed: Observed, spec: Spec, grant: Grant) -> Aim:
    """What a token for this spec and these Secrets is for."""
    names = {need.name for need in credential_needs(spec) if need.kind == "Secret"}
    held = [observed.secrets.objects.get(name) for name in sorted(names)]
    uids = [str(secret["metadata"].get("uid")) for secret in held if secret]
    if isinstance(observed.service_account, ServiceAccount):
        uids.append(observed.service_account.uid)
    return Aim(
        identity=token_identity(spec),
        credential=grant.credential,
        authorities=grant.authorities,
        refresh_request=observed.mailer.refresh_request,
        key=" ".join(uids).encode(),
    )


def _token_wanted(held: HeldToken | None, aim: Aim, now: datetime.datetime) -> bool:
    if held is None or _due(held, now):
        return True
    return held.origin.issued_at > now + CLOCK_TOLERANCE or not aim.met_by(held.origin)


def _due(held: HeldToken, now: datetime.datetime) -> bool:
    return now >= held.origin.refresh_at or now >= held.expires_at


def _too_soon_until(observed: Observed, aim: Aim) -> datetime.datetime | None:
    """When the controller may ask for a token that a change needs so soon after the last attempt; None: at once.

    schedule.py paces retries after a failure and refreshes that are due.
    """
    status, held, now = observed.mailer.status, observed.held, observed.now
    if status.last_attempt == aim.digest or (held is not None and aim.met_by(held.origin) and _due(held, now)):
        return None
    known = (status.last_attempt_time, observed.attempted, held.origin.issued_at if held else None)
    until = max((each for each in known if each and each <= now), default=None)
    return until + ATTEMPTS_APART if until and now < until + ATTEMPTS_APART else None


def _failure_to_wait_out(observed: Observed, aim: Aim) -> Problem | None:
    """The failure of an earlier attempt for this aim, during its pause."""
    status = observed.mailer.status
    if status.last_attempt != aim.digest or status.next_refresh is None:
        return None
    if not observed.now < status.next_refresh <= observed.now + LONGEST_PAUSE:
        return None
    return last_failure(observed)


def last_failure(observed: Observed) -> Problem | None:
    """Why the last attempt failed, as the status says; None if it did not."""
    failed = observed.mailer.status.condition(TOKEN_ISSUED)
    if failed is None or failed.status == "True":
        return None
    return Problem(reason=failed.reason, message=failed.message)


@dataclasses.dataclass(frozen=True)
class _Held:
    """The objects that were read (token.credential.Source)."""

    observed: Observed

    def secret(self, name: str) -> Mapping[str, bytes] | None:
        """Raises CredentialError."""
        if name in self.observed.secrets.forbidden:
            raise CredentialError(
                SECRET_UNREADABLE,
                f"The controller may not read the Secret {name} in this namespace. {self._remedy()}",
                secret=name,
            )
        secret = self.observed.secrets.objects.get(name)
        return SecretFiles(secret) if secret else None

    def config_map(self, name: str) -> Mapping[str, bytes] | None:
        """Raises ConfigMapError."""
        if name in self.observed.config_maps.forbidden:
            raise ConfigMapError(
                CONFIG_MAP_UNREADABLE,
                f"The controller may not read the ConfigMap {name} in this namespace. {self._remedy()}",
                config_map=name,
            )
        config_map = self.observed.config_maps.objects.get(name)
        return ConfigMapFiles(config_map) if config_map else None

    def service_account(self, _name: str) -> ServiceAccount | None:
        """Raises ServiceAccountError."""
        found = self.observed.service_account
        if isinstance(found, ServiceAccountError):
            raise found
        return found

    def _remedy(self) -> str:
        namespace = self.observed.mailer.metadata.namespace
        command = names.grant_command(namespace=namespace, operator=self.observed.operator)
        return f"An administrator of the namespace allows it with: {command}"


def _not_ours(observed: Observed) -> Problem:
    name = observed.token_secret["metadata"]["name"] if observed.token_secret else ""
    return Problem(
        reason=SECRET_NAME_TAKEN,
        message=f"There is a Secret {name} that this mailer did not make; it is left alone. "
        "Delete or rename that Secret, or give the mailer another name.",
    )


_SUSPENSION = Problem(
    reason=SUSPENDED, message="spec.suspend is true, so the token is not refreshed. Set it to false to go on."
)
