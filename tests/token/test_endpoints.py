"""A mailer reaches the hosts that the installation allows, and no others."""

from typing import Any

import pytest
from support.refused import refused

from o365mailer_operator.token.endpoints import CLOUDS, PRESET_HOSTS, AllowedHosts
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
    with refused("HostNotAllowed"):
        spec.endpoints.check(AllowedHosts(AllowedHosts().entries - {spec.endpoints.submission_host}))


@pytest.mark.promise("secret-only-to-allowed-hosts")
@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"authority": {"url": "https://evil.example"}}, "spec.authority.url names evil.example:443,"),
        ({"submission": {"host": "evil.example"}}, "spec.submission.host names evil.example:587,"),
        (
            {"submission": {"host": "smtp.office365.com.evil.example"}},
            "spec.submission.host names smtp.office365.com.evil",
        ),
    ],
)
def test_a_host_that_is_not_on_the_list_is_refused_with_the_remedy(
    spec_of: Any, members: dict[str, Any], named: str
) -> None:
    with refused("HostNotAllowed") as caught:
        decode_spec(spec_of(**members)).endpoints.check(AllowedHosts())

    assert str(caught.value).startswith(named)
    assert "chart's value allowedHosts" in str(caught.value)
    assert caught.value.reason == "HostNotAllowed"


def test_an_entry_may_name_one_port_only(spec_of: Any) -> None:
    allowed = AllowedHosts(PRESET_HOSTS | {"mail.example:2587"})

    decode_spec(spec_of(submission={"host": "Mail.Example.", "port": 2587})).endpoints.check(allowed)
    with refused("HostNotAllowed"):
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
    allowed = AllowedHosts(frozenset({"login.example:443"}))
    allowed.check_url("https://login.example/tenant/oauth2/v2.0/token", named_by="discovery")

    with refused("HostNotAllowed"):
        allowed.check_url(url, named_by="discovery")
