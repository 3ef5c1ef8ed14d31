"""Sidecar and controller of different versions: pods live for months, and either of the two may be the older one."""

import json
from typing import Any, Literal

import msgspec
import pytest
from contract import settings_before_the_spool as before
from hypothesis import given
from hypothesis import strategies as st

from o365mailer_contract import settings

OLD_DOCUMENT = b"""{
  "delivery": {"confirmWithin": "5s", "lineEndings": "Reject"},
  "expiresAt": "2026-11-23T12:00:00Z",
  "limits": {"connections": 2, "messageSize": "10Mi"},
  "logLevel": "debug",
  "mailbox": "noreply@contoso.com",
  "recipients": {"allowedDomains": ["contoso.com"], "maxPerMessage": 5, "redirectTo": null},
  "requires": ["senders.allowed", "recipients.allowedDomains"],
  "revision": 7,
  "schemaVersion": 1,
  "senders": {"allowed": ["@contoso.com"], "nullReversePath": "Keep", "onMismatch": "Rewrite"},
  "submission": {"host": "smtp.office365.com", "port": 587, "tls": "starttls"}
}
"""
"""What a controller of before the spool wrote, byte by byte."""

NEW_MEMBERS = st.builds(
    settings.Settings,
    schema_version=st.just(1),
    revision=st.integers(0, 2**31),
    mailbox=st.just("noreply@contoso.com"),
    submission=st.builds(settings.Submission, host=st.just("smtp.example")),
    limits=st.builds(settings.Limits, messages_per_minute=st.none() | st.integers(1, 1000)),
    delivery=st.builds(
        settings.Delivery,
        offer_auth=st.booleans(),
        notify=st.sampled_from([None, "sender", "postmaster@contoso.com"]),
        spool=st.builds(
            settings.Spool,
            max_age=st.sampled_from(["1m", "48h"]),
            max_size=st.sampled_from(["1Mi", "512Mi"]),
            max_messages=st.integers(1, 10**6),
            keep_dead=st.sampled_from(["1h", "30d"]),
        ),
    ),
    log_addresses=st.booleans(),
)


def known_of(old: Any, new: Any) -> Any:
    """What of a document an older reader knows, as it wrote it."""
    if isinstance(old, dict):
        return {name: known_of(member, new[name]) for name, member in old.items()}
    return new


@pytest.mark.promise("directory-compatible")
@given(NEW_MEMBERS)
def test_a_sidecar_of_before_the_spool_reads_what_it_knows_of_a_newer_directory(new: settings.Settings) -> None:
    document = settings.encode(new)
    read = json.loads(before.encode(before.decode(document)))
    assert read == known_of(read, json.loads(document))


@pytest.mark.promise("directory-compatible")
def test_a_sidecar_of_today_reads_a_directory_of_before_the_spool_and_takes_the_defaults() -> None:
    read = settings.decode(OLD_DOCUMENT)
    assert json.loads(before.encode(before.decode(OLD_DOCUMENT))) == json.loads(OLD_DOCUMENT)
    assert known_of(json.loads(OLD_DOCUMENT), json.loads(settings.encode(read))) == json.loads(OLD_DOCUMENT)
    assert (read.limits.messages_per_minute, read.log_addresses) == (None, False)
    assert read.delivery == settings.Delivery(confirm_within="5s", line_endings="Reject")


class SubmissionWithChunking(settings.Submission, frozen=True):
    """As sidecars knew it that could send by BDAT."""

    chunking: Literal["auto", "off"] = "auto"


class SettingsWithChunking(settings.Settings, frozen=True, kw_only=True):
    """As they read it."""

    submission: SubmissionWithChunking


@pytest.mark.promise("directory-compatible")
@given(NEW_MEMBERS)
def test_a_sidecar_that_knows_chunking_reads_a_directory_without_it(new: settings.Settings) -> None:
    read = msgspec.json.decode(settings.encode(new), type=SettingsWithChunking)
    assert read.submission == SubmissionWithChunking(host=new.submission.host, port=new.submission.port)


@pytest.mark.promise("unknown-restriction-stops-relaying", "directory-compatible")
@pytest.mark.parametrize("chunking", ["auto", "off", None, 7])
def test_chunking_of_an_older_controller_is_ignored(chunking: object) -> None:
    document = json.loads(OLD_DOCUMENT)
    document["submission"]["chunking"] = chunking
    assert settings.decode(json.dumps(document).encode()) == settings.decode(OLD_DOCUMENT)


@pytest.mark.promise("unknown-restriction-stops-relaying")
@given(NEW_MEMBERS)
def test_pace_spool_notices_and_logs_restrict_no_mail(new: settings.Settings) -> None:
    document = msgspec.structs.replace(new, requires=settings.restrictions(new.senders, new.recipients))
    assert document.requires == ()
    assert before.decode(settings.encode(document)).mailbox == new.mailbox


@pytest.mark.promise("unknown-restriction-stops-relaying")
def test_a_sidecar_of_before_the_spool_still_stops_at_what_restricts_and_is_new_to_it() -> None:
    document = settings.Settings(
        schema_version=1,
        revision=1,
        mailbox="noreply@contoso.com",
        submission=settings.Submission(host="h"),
        requires=("recipients.allowedDomains", "recipients.later"),
    )
    with pytest.raises(before.UnknownRestriction, match=r"requires recipients\.later, which"):
        before.decode(settings.encode(document))
