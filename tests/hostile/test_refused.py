"""Mailers that could name another host or another namespace's Secret are refused by the API server."""

import pytest

from hostile.scene import Scene
from hostile.user import MAILERS, PODS, Manifest

pytestmark = [pytest.mark.promise("neighbours-are-safe"), pytest.mark.timeout(240)]
INJECT = "o365mailer.dev/inject"


def refs(*names: str) -> Manifest:
    """A credential of client secrets."""
    return {"clientSecret": {"secretRefs": [{"name": name, "key": "secret"} for name in names]}}


REFUSED: dict[str, Manifest] = {
    "user info": {"authority": {"url": "https://login.microsoftonline.com@evil.example"}},
    "a path": {"authority": {"url": "https://login.microsoftonline.com/../evil"}},
    "a query": {"authority": {"url": "https://login.microsoftonline.com?x=@evil.example"}},
    "plain HTTP": {"authority": {"url": "http://login.microsoftonline.com"}},
    "an IPv6 literal": {"authority": {"url": "https://[::1]"}},
    "a backslash": {"authority": {"url": "https://evil.example\\login.microsoftonline.com"}},
    "a letter that folds to k": {"submission": {"host": "smtp.office365.\u212aom"}},
    "a full-width dot": {"submission": {"host": "smtp\uff0eoffice365.com"}},
    "an international name": {"submission": {"host": "smtp.offic\u0435365.com"}},
    "a line break": {"submission": {"host": "smtp.office365.com\nevil.example"}},
    "two final dots": {"submission": {"host": "smtp.office365.com.."}},
    "a host in the tenant": {"tenantId": "contoso.com/../../evil"},
    "a Secret of another namespace": {"credential": refs("kube-system/entra")},
    "a path to a Secret": {"credential": refs("../../kube-system/secrets/entra")},
    "a line break in the mailbox": {"mailbox": "noreply@contoso.com\r\nRCPT TO:<x@y.example>"},
}


@pytest.mark.parametrize("spec", REFUSED.values(), ids=REFUSED)
def test_what_could_name_another_host_or_namespace_is_refused_by_the_api_server(scene: Scene, spec: Manifest) -> None:
    hostile = scene.hostile
    status, document = hostile.user.request("POST", hostile.path(MAILERS), hostile.mailer("refused", **spec))
    assert (status, document["reason"]) == (422, "Invalid"), document


def test_a_mailer_that_is_right_is_taken(scene: Scene) -> None:
    """What makes the refusals mean something."""
    hostile = scene.hostile
    mailer = hostile.mailer("right", credential=refs("entra"))
    assert hostile.user.request("POST", hostile.path(MAILERS) + "?dryRun=All", mailer)[0] == 201


def test_a_pod_cannot_name_a_mailer_of_another_namespace(scene: Scene) -> None:
    for name in (f"{scene.neighbour.name}/noreply", "../noreply", "noreply\n", "cluster/noreply", "n" * 41):
        status, document = scene.hostile.admit(scene.hostile.pod(**{INJECT: name}))
        assert (status, document["reason"]) == (400, "BadRequest"), name
    status, document = scene.hostile.user.request("POST", scene.neighbour.path(PODS), scene.hostile.pod())
    assert status == 403
