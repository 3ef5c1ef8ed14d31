"""A mailer that a user runs may reach the hosts that it names, and no other."""

from support.refused import refused

from o365mailer_cli.document import named_hosts
from o365mailer_operator.token.spec import decode_spec


def test_run_allows_what_the_document_itself_names_and_nothing_else() -> None:
    endpoints = decode_spec(
        {
            "tenantId": "contoso.com",
            "clientId": "22222222-2222-4222-8222-222222222222",
            "mailbox": "noreply@contoso.com",
            "credential": {"clientSecret": {"secretRefs": [{"name": "noreply", "key": "secret"}]}},
            "authority": {"url": "https://login.example:8443"},
            "submission": {"host": "mail.example"},
        }
    ).endpoints
    allowed = named_hosts(endpoints)

    endpoints.check(allowed)
    with refused("HostNotAllowed", match=r"not among the allowed hosts\. Check spec\.authority\.url\.$"):
        allowed.check_authority("https://evil.example/token", named_by="The authority's discovery document")
