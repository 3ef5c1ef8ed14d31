"""What is written for the relay is a settings document that the contract reads back, and the token."""

import datetime
from typing import Any

import pytest
from contract import settings_before_the_spool
from hypothesis import example, given
from hypothesis import strategies as st

from o365mailer_contract import settings
from o365mailer_operator.token.directory import files_of, same_but_revision, settings_of
from o365mailer_operator.token.errors import InvalidSpec
from o365mailer_operator.token.grant import token_identity
from o365mailer_operator.token.spec import HOST_PATTERN, decode_spec

SPEC: dict[str, Any] = {
    "tenantId": "contoso.com",
    "clientId": "22222222-2222-4222-8222-222222222222",
    "mailbox": "noreply@contoso.com",
    "credential": {"clientSecret": {"secretRefs": [{"name": "noreply", "key": "secret"}]}},
}


@pytest.mark.promise("token-secret-complete")
def test_the_files_are_the_token_and_the_settings(spec_of: Any, now: datetime.datetime) -> None:
    document = settings_of(decode_spec(spec_of()), expires_at=now, revision=7)

    files = files_of(document, token="token-not-a-secret", authorities=None)

    assert files.keys() == {"access_token", "mailer.json"}
    assert files["access_token"] == b"token-not-a-secret"
    assert settings.decode(files["mailer.json"]) == settings.Settings(
        schema_version=1,
        revision=7,
        mailbox="noreply@contoso.com",
        expires_at=now,
        submission=settings.Submission(host="smtp.office365.com", port=587),
    )


@pytest.mark.promise("token-secret-complete")
def test_everything_that_the_spec_says_for_the_relay_arrives(spec_of: Any, now: datetime.datetime) -> None:
    spec = decode_spec(
        spec_of(
            submission={"host": "mail.example", "port": 2587},
            limits={"connections": 2, "messageSize": "10Mi", "messagesPerMinute": 20},
            delivery={
                "confirmWithin": "5s",
                "lineEndings": "Reject",
                "offerAuth": False,
                "notify": "sender",
                "spool": {"maxAge": "1h", "maxSize": "1Gi", "maxMessages": 7, "keepDead": "1d"},
            },
            logLevel="debug",
            logAddresses=True,
        )
    )

    files = files_of(settings_of(spec, expires_at=now, revision=1), token="t", authorities="pem")
    read = settings.decode(files["mailer.json"])

    assert read.submission == settings.Submission(host="mail.example", port=2587)
    assert read.limits == settings.Limits(connections=2, message_size="10Mi", messages_per_minute=20)
    assert read.delivery == settings.Delivery(
        confirm_within="5s",
        line_endings="Reject",
        offer_auth=False,
        notify="sender",
        spool=settings.Spool(max_age="1h", max_size="1Gi", max_messages=7, keep_dead="1d"),
    )
    assert (read.log_level, read.log_addresses) == ("debug", True)
    assert read.requires == ()
    assert files["ca.crt"] == b"pem"


@pytest.mark.promise("unknown-restriction-stops-relaying")
def test_what_restricts_is_required_of_every_reader(spec_of: Any, now: datetime.datetime) -> None:
    spec = decode_spec(
        spec_of(
            senders={"allowed": ["@contoso.com"], "onMismatch": "Rewrite", "nullReversePath": "Keep"},
            recipients={"allowedDomains": ["contoso.com"], "redirectTo": "staging@contoso.com", "maxPerMessage": 5},
        )
    )

    read = settings.decode(settings.encode(settings_of(spec, expires_at=now, revision=1)))

    assert read.senders == spec.senders
    assert read.recipients == spec.recipients
    assert read.requires == ("senders.allowed", "recipients.allowedDomains", "recipients.redirectTo")
    assert settings_of(decode_spec(spec_of()), expires_at=now, revision=1).requires == ()


@pytest.mark.promise("token-secret-complete")
@given(st.from_regex(HOST_PATTERN, fullmatch=True).filter(lambda host: len(host) <= 253))
@example("a" * 63 + ".example")
def test_every_host_that_a_mailer_may_name_is_one_that_the_sidecar_takes(host: str) -> None:
    """Else the controller would write a directory that no sidecar reads, and write it again at each look."""
    spec = decode_spec(SPEC | {"submission": {"host": host}})
    written = settings.encode(settings_of(spec, expires_at=None, revision=1))
    assert settings.decode(written).submission.host == host


def test_a_host_that_no_resolver_can_be_asked_for_is_refused_in_the_spec_already() -> None:
    with pytest.raises(InvalidSpec, match=r"^spec\.submission\.host: expected a host name"):
        decode_spec(SPEC | {"submission": {"host": "a" * 64 + ".example"}})


def test_fractions_of_seconds_are_cut_so_that_the_end_is_never_told_too_late(
    spec_of: Any, now: datetime.datetime
) -> None:
    document = settings_of(decode_spec(spec_of()), expires_at=now.replace(microsecond=999_999), revision=1)

    assert document.expires_at == now


def test_two_documents_are_compared_without_their_revisions(spec_of: Any, now: datetime.datetime) -> None:
    spec, other = decode_spec(spec_of()), decode_spec(spec_of(mailbox="other@contoso.com"))
    first = settings_of(spec, expires_at=now, revision=1)

    assert same_but_revision(first, settings_of(spec, expires_at=now, revision=2))
    assert not same_but_revision(first, settings_of(other, expires_at=now, revision=1))


@pytest.mark.promise("directory-compatible")
def test_an_upgraded_controller_has_nothing_to_write_where_its_predecessor_said_the_same(
    spec_of: Any, now: datetime.datetime
) -> None:
    """Else an upgrade would write the Secret of every mailer at once."""
    predecessors = settings_before_the_spool.Settings(
        schema_version=1,
        revision=7,
        mailbox="noreply@contoso.com",
        expires_at=now,
        submission=settings_before_the_spool.Submission(host="smtp.office365.com", port=587),
    )
    found = settings.decode(settings_before_the_spool.encode(predecessors))
    delivery = {"confirmWithin": "10s"}  # the default of those days

    assert same_but_revision(found, settings_of(decode_spec(spec_of(delivery=delivery)), expires_at=now, revision=8))
    changed = decode_spec(spec_of(delivery=delivery | {"spool": {"maxAge": "1h"}}))
    assert not same_but_revision(found, settings_of(changed, expires_at=now, revision=8))


def test_what_decides_the_token_decides_its_identity_and_nothing_else_does(spec_of: Any) -> None:
    def identity(**members: Any) -> str:
        return token_identity(decode_spec(spec_of(**members)))

    same = {identity(), identity(mailbox="other@contoso.com"), identity(logLevel="debug")}
    others = {
        identity(clientId="99999999-2222-4222-8222-222222222222"),
        identity(tenantId="contoso.com"),
        identity(cloud="China"),
        identity(authority={"url": "https://login.example"}),
    }

    assert len(same) == 1
    assert len(others) == 4
    assert not same & others
