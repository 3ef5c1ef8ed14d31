"""The mailer directory's content. The controller writes it into the token Secret, and `o365mailer run` into files."""

import datetime
from collections.abc import Mapping

import msgspec

from o365mailer_contract import names, settings
from o365mailer_operator.clock import to_the_second
from o365mailer_operator.token.spec import Spec


def settings_of(spec: Spec, *, expires_at: datetime.datetime | None, revision: int) -> settings.Settings:
    """The settings document of a spec, for a token that expires at `expires_at`."""
    return settings.Settings(
        schema_version=settings.SCHEMA_VERSION,
        revision=revision,
        mailbox=spec.mailbox,
        submission=settings.Submission(host=spec.endpoints.submission_host, port=spec.endpoints.submission_port),
        expires_at=to_the_second(expires_at) if expires_at else None,
        limits=spec.limits,
        delivery=spec.delivery,
        senders=spec.senders,
        recipients=spec.recipients,
        log_level=spec.log_level,
        log_addresses=spec.log_addresses,
        requires=settings.restrictions(spec.senders, spec.recipients),
    )


def files_of(document: settings.Settings, *, token: str, authorities: str | None) -> Mapping[str, bytes]:
    """The directory's files by name. `authorities` is PEM, None for the system's."""
    files = {names.TOKEN_FILE: token.encode("ascii"), names.SETTINGS_FILE: settings.encode(document)}
    if authorities is not None:
        files[names.CA_FILE] = authorities.encode()
    return files


def same_but_revision(one: settings.Settings, other: settings.Settings) -> bool:
    """Whether two documents are equal except for their revisions, so that nothing needs to be written."""
    return msgspec.structs.replace(one, revision=0) == msgspec.structs.replace(other, revision=0)
