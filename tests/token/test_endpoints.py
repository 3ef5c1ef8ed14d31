"""A mailer reaches the hosts that the installation allows, and no others."""

from typing import Any

import pytest
from support.refused import refused

from o365mailer_operator.token.endpoints import CLOUDS, HIGH_VOLUME_HOST, AllowedHosts
from o365mailer_operator.token.spec import decode_spec


@pytest.mark.parametrize(
    ("cloud", "authority", "scope", "submission"),
    [
        (
            "Global",
            "https://login.microsoftonline.com",
            "https://outlook.office365.com/.default",
            "smtp.office365.com",
        ),
        (
            "USGovernment",
            "https://login.microsoftonline.us",
            "https://outlook.office365.us/.default",
            "smtp.office365.us",
        ),
        (
            "USGovernmentDoD",
            "https://login.microsoftonline.us",
            "https://outlook.office365.us/.default",
            "outlook-dod.office365.us",
        ),
        (
            "China",
            "https://login.partner.microsoftonline.cn",
            "https://partner.outlook.cn/.default",
            "smtp.partner.outlook.cn",
        ),
    ],
)
def test_each_cloud_has_its_own_endpoints(
    spec_of: Any, cloud: str, authority: str, scope: str, submission: str
) -> None:
    endpoints = decode_spec(spec_of(cloud=cloud)).endpoints

    assert endpoints.authority == f"{authority}/11111111-1111-4111-8111-111111111111"
    assert endpoints.scope == scope
    assert (endpoints.submission_host, endpoints.submission_port) == (submission, 587)


def test_overrides_replace_the_clouds_hosts_and_keep_its_scope(spec_of: Any) -> None:
    endpoints = decode_spec(
        spec_of(authority={"url": "https://login.example:8443/"}, submission={"host": "mail.example", "port": 25})
    ).endpoints

    assert endpoints.authority == "https://login.example:8443/11111111-1111-4111-8111-111111111111"
    assert endpoints.scope == "https://outlook.office365.com/.default"
    assert (endpoints.submission_host, endpoints.submission_port) == ("mail.example", 25)


@pytest.mark.promise("secret-only-to-allowed-hosts")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_without_overrides_every_cloud_is_allowed_by_default(spec_of: Any, cloud: str) -> None:
    spec = decode_spec(spec_of(cloud=cloud))

    spec.endpoints.check(AllowedHosts())
    with refused("HostNotAllowed", match="spec.cloud names"):
        spec.endpoints.check(AllowedHosts(authority=()))
    with refused("HostNotAllowed", match="spec.cloud names"):
        spec.endpoints.check(AllowedHosts(submission=()))


@pytest.mark.parametrize("port", [25, 587])
def test_microsofts_submission_hosts_are_allowed_on_both_ports_of_client_submission(spec_of: Any, port: int) -> None:
    for host in ({}, {"host": HIGH_VOLUME_HOST}):
        decode_spec(spec_of(submission={"port": port, **host})).endpoints.check(AllowedHosts())


@pytest.mark.promise("secret-only-to-allowed-hosts")
@pytest.mark.parametrize(
    ("members", "told"),
    [
        (
            {"authority": {"url": "https://evil.example"}},
            "spec.authority.url names evil.example:443, which is not among the allowed hosts.",
        ),
        (
            {"authority": {"url": "https://login.microsoftonline.com:8443"}},
            "spec.authority.url names login.microsoftonline.com:8443, of which only port 443 may be named.",
        ),
        (
            {"authority": {"url": "https://smtp.office365.com"}},
            "spec.authority.url names smtp.office365.com:443, which may take mail, but not client secrets.",
        ),
        (
            {"submission": {"host": "evil.example"}},
            "spec.submission.host names evil.example:587, which is not among the allowed hosts.",
        ),
        (
            {"submission": {"host": "smtp.office365.com.evil.example"}},
            "spec.submission.host names smtp.office365.com.evil.example:587, which is not among the allowed hosts.",
        ),
        (
            {"submission": {"port": 443}},
            "spec.submission.port names smtp.office365.com:443, of which only ports 25 and 587 may be named.",
        ),
        (
            {"submission": {"host": "login.microsoftonline.com", "port": 25}},
            "spec.submission.host names login.microsoftonline.com:25, which may give tokens, but not take mail.",
        ),
    ],
)
def test_a_host_that_is_not_on_its_list_is_refused_with_the_remedy(
    spec_of: Any, members: dict[str, Any], told: str
) -> None:
    with refused("HostNotAllowed") as caught:
        decode_spec(spec_of(**members)).endpoints.check(AllowedHosts())

    (member,) = members
    remedy = f"Use the cloud's own host, or have this one added to the chart's value allowedHosts.{member}."
    assert str(caught.value) == f"{told} {remedy}"


@pytest.mark.promise("secret-only-to-allowed-hosts")
def test_a_server_that_may_take_mail_cannot_ask_for_a_client_secret(spec_of: Any) -> None:
    sink = {"authority": {"url": "https://sink.example:8025"}, "submission": {"host": "sink.example", "port": 1025}}
    allowed = AllowedHosts.in_addition(authority=(), submission={"sink.example"})

    decode_spec(spec_of(submission=sink["submission"])).endpoints.check(allowed)
    with refused(
        "HostNotAllowed",
        match="names sink.example:8025, which may take mail, but not client secrets",
    ):
        decode_spec(spec_of(**sink)).endpoints.check(allowed)
    with refused("HostNotAllowed", match="which may give tokens, but not take mail"):
        decode_spec(spec_of(**sink)).endpoints.check(
            AllowedHosts.in_addition(authority={"sink.example"}, submission=())
        )


def test_an_entry_may_name_one_port_only(spec_of: Any) -> None:
    allowed = AllowedHosts.in_addition(authority=(), submission={"Mail.example.:2587"})

    decode_spec(spec_of(submission={"host": "Mail.Example.", "port": 2587})).endpoints.check(allowed)
    with refused("HostNotAllowed", match="of which only port 2587 may be named"):
        decode_spec(spec_of(submission={"host": "mail.example", "port": 22})).endpoints.check(allowed)


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example/x",
        "https://login.example@evil.example/x",
        "https://login.example\\@evil.example/x",
        "https://evil.example/login.example",
        "https://login.example.evil.example/",
        "https://login.example:8443/",
        "https://",
        "file:///etc/passwd",
    ],
)
def test_an_address_that_could_mean_another_host_is_refused(url: str) -> None:
    allowed = AllowedHosts(authority={"login.example:443"})
    allowed.check_authority("https://login.example/tenant/oauth2/v2.0/token", named_by="discovery")

    with refused("HostNotAllowed"):
        allowed.check_authority(url, named_by="discovery")
