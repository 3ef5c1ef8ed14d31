"""The webhook is away: pods that do not want us never notice, those that do are not started without their relay."""

import pytest
from cluster import apps
from cluster.installation import WEBHOOK, Installation
from cluster.team import Team

pytestmark = pytest.mark.timeout(300)

PLAIN_PODS = 100


def held_back(name: str) -> apps.Manifest:
    """A pod that is created and not scheduled: a hundred running ones would tell no more, and fill the node."""
    spec = {"schedulingGates": [{"name": "example.com/never"}], "containers": [{"name": "app", "image": "app"}]}
    return apps.pod(name, spec, annotated=False)


@pytest.mark.promise("other-pods-never-call")
def test_plain_pods_are_created_without_asking_and_annotated_ones_are_refused(
    installation: Installation, lax_team: Team
) -> None:
    plain = {"containers": [lax_team.app(apps.STAY)]}
    with installation.changed("webhook.replicas=0"):
        installation.wait_until_gone(WEBHOOK)
        before = installation.webhook_requests()
        assert before > 0
        lax_team.apply(*(held_back(f"plain-{number}") for number in range(PLAIN_PODS)))
        lax_team.apply(apps.pod("plain", plain, annotated=False))
        lax_team.kubectl("wait", "pod/plain", "--for=condition=Ready", "--timeout=60s")
        assert len(lax_team.pods()) == PLAIN_PODS + 1
        assert installation.webhook_requests() == before
        with pytest.raises(AssertionError, match=r'failed calling webhook "pods\.admission\.o365mailer\.dev"'):
            lax_team.apply(apps.pod("annotated", plain))
        assert installation.webhook_requests() > before
    installation.wait_until_asked(lax_team)
    lax_team.apply(apps.pod("annotated", {"containers": [lax_team.app(apps.ONCE_AND_STAY)]}))
    lax_team.mails(atleast=1)
