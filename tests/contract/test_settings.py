"""The settings document: small, additive, and safe when it restricts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o365mailer_contract.settings import (
    RESTRICTIONS,
    InvalidSettings,
    NewerSchema,
    Recipients,
    Senders,
    Spool,
    UnknownRestriction,
    decode,
    encode,
    restrictions,
)

MINIMAL = {
    "schemaVersion": 1,
    "revision": 1,
    "mailbox": "noreply@contoso.com",
    "submission": {"host": "smtp.office365.com", "port": 587},
}


def document(**changes: Any) -> bytes:
    return json.dumps(MINIMAL | changes).encode()


@pytest.mark.promise("directory-compatible")
def test_four_members_are_a_complete_mailer() -> None:
    settings = decode(document())
    assert (settings.limits.connections, settings.limits.message_size) == (3, "35Mi")
    assert (settings.delivery.confirm_within, settings.delivery.line_endings) == ("8s", "Normalize")
    assert settings.delivery.spool == Spool(max_age="48h", max_size="512Mi", max_messages=20_000, keep_dead="168h")
    assert (settings.delivery.offer_auth, settings.delivery.notify) == (True, None)
    assert settings.limits.messages_per_minute is None
    assert settings.log_addresses is False


@pytest.mark.promise("unknown-restriction-stops-relaying")
def test_unknown_members_are_ignored_at_every_depth() -> None:
    settings = decode(document(fromTheFuture=1, submission={"host": "h", "port": 25, "later": {}}))
    assert settings.submission.port == 25


@pytest.mark.promise("unknown-restriction-stops-relaying")
def test_an_unknown_restricting_member_is_refused_by_name() -> None:
    with pytest.raises(UnknownRestriction, match="requires redirectTo, which this version does not know"):
        decode(document(requires=["redirectTo"]))


@pytest.mark.promise("unknown-restriction-stops-relaying")
def test_every_restriction_that_is_set_is_named_and_known() -> None:
    everything = restrictions(
        Senders(allowed=("@contoso.com",)),
        Recipients(allowed_domains=("contoso.com",), redirect_to="staging@contoso.com"),
    )
    assert set(everything) == RESTRICTIONS
    assert restrictions(Senders(on_mismatch="Rewrite"), Recipients(max_per_message=5)) == ()
    assert decode(document(requires=everything)).requires == everything
    with pytest.raises(UnknownRestriction, match=r"requires recipients\.never, which this version does not know"):
        decode(document(requires=[*everything, "recipients.never"]))


@pytest.mark.promise("directory-compatible")
def test_a_newer_schema_is_told_from_a_broken_document() -> None:
    with pytest.raises(NewerSchema, match="schemaVersion is 2 and this version reads 1: restart the pod"):
        decode(b'{"schemaVersion": 2, "everything": "is different"}')


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mailbox": "noreply"}, r"mailbox"),
        ({"submission": {"host": "", "port": 587}}, r"submission\.host"),
        *(
            ({"submission": {"host": host, "port": 587}}, r"submission\.host")
            for host in (".", "h..x", "h\r\nx", "h\n", "h\0", "h" * 64, "a b", "h/x")
        ),
        ({"mailbox": "noreply@contoso.com\n"}, r"mailbox"),
        ({"senders": {"allowed": ["@contoso.com\n"]}}, r"senders\.allowed"),
        ({"recipients": {"redirectTo": "staging@contoso.com\n"}}, r"recipients\.redirectTo"),
        ({"recipients": {"allowedDomains": ["contoso.com\n"]}}, r"recipients\.allowedDomains"),
        ({"delivery": {"notify": "sender\n"}}, r"delivery\.notify"),
        ({"submission": {"host": "h", "port": 70000}}, r"submission\.port"),
        ({"limits": {"connections": 0}}, r"limits\.connections"),
        ({"delivery": {"confirmWithin": "soon"}}, r"delivery\.confirmWithin"),
        ({"senders": {"allowed": ["contoso.com"]}}, r"senders\.allowed"),
        ({"senders": {"onMismatch": "Ignore"}}, r"senders\.onMismatch"),
        ({"recipients": {"redirectTo": "staging"}}, r"recipients\.redirectTo"),
        ({"recipients": {"allowedDomains": ["*.contoso.com"]}}, r"recipients\.allowedDomains"),
        ({"recipients": {"maxPerMessage": 0}}, r"recipients\.maxPerMessage"),
        ({"limits": {"messagesPerMinute": 0}}, r"limits\.messagesPerMinute"),
        ({"delivery": {"offerAuth": "no"}}, r"delivery\.offerAuth"),
        ({"delivery": {"notify": "recipient"}}, r"delivery\.notify"),
        ({"delivery": {"notify": "a@b.c\x01"}}, r"delivery\.notify"),
        ({"delivery": {"spool": {"maxAge": "2 days"}}}, r"delivery\.spool\.maxAge"),
        ({"delivery": {"spool": {"maxSize": "all"}}}, r"delivery\.spool\.maxSize"),
        ({"delivery": {"spool": {"maxMessages": 0}}}, r"delivery\.spool\.maxMessages"),
        ({"delivery": {"spool": {"keepDead": "forever"}}}, r"delivery\.spool\.keepDead"),
        ({"logAddresses": "yes"}, r"logAddresses"),
        ({"limits": {"messageSize": "9" * 5000}}, r"limits\.messageSize"),
        ({"revision": "7"}, r"revision"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSettings, match=message):
        decode(document(**changes))


@pytest.mark.parametrize(
    "host", ["localhost", "smtp.office365.com", "smtp.office365.com.", "a_b-c.d", "::1", "10.0.0.1"]
)
def test_names_and_addresses_of_hosts_are_taken(host: str) -> None:
    assert decode(document(submission={"host": host, "port": 587})).submission.host == host


@given(st.integers(min_value=0, max_value=len(document()) - 1))
def test_a_truncated_document_is_refused(length: int) -> None:
    with pytest.raises(InvalidSettings):
        decode(document()[:length])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(InvalidSettings, match=r"."):
        decode(data)


def test_a_document_reads_back_as_it_was_written() -> None:
    settings = decode(document(expiresAt="2026-11-23T12:00:00Z", logLevel="debug", limits={"connections": 1}))
    assert decode(encode(settings)) == settings


def test_what_is_written_leaves_nothing_to_the_defaults_of_its_reader() -> None:
    written = json.loads(encode(decode(document())))
    assert written["limits"] == {"connections": 3, "messageSize": "35Mi", "messagesPerMinute": None}
    assert written["delivery"] == {
        "confirmWithin": "8s",
        "lineEndings": "Normalize",
        "notify": None,
        "offerAuth": True,
        "spool": {"keepDead": "168h", "maxAge": "48h", "maxMessages": 20_000, "maxSize": "512Mi"},
    }


@pytest.mark.parametrize("notify", ["sender", "postmaster@contoso.com"])
def test_a_notice_goes_to_the_sender_or_to_an_address(notify: str) -> None:
    assert decode(document(delivery={"notify": notify})).delivery.notify == notify
