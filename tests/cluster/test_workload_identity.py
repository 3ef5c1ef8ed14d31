"""A mailer without any stored secret mails through an annotated Deployment."""

import json

import pytest
from cluster import apps
from cluster.installation import Installation
from cluster.team import READY_SECONDS, Team

from o365mailer_contract import names

pytestmark = pytest.mark.timeout(300)


def trust(team: Team, account: str) -> None:
    """Let the team's application trust this ServiceAccount of the cluster, and no secret."""
    issuer = json.loads(team.cluster.kubectl("get", "--raw", "/.well-known/openid-configuration"))["issuer"]
    keys = json.loads(team.cluster.kubectl("get", "--raw", "/openid/v1/jwks"))
    team.office365.settings(issuers={issuer: {"jwks": keys}})
    trusted = {"issuer": issuer, "subject": f"system:serviceaccount:{team.name}:{account}"}
    change = {"secrets": [], "federatedCredentials": [trusted]}
    team.office365.control("PATCH", f"/applications/{team.client_id}", change)


@pytest.mark.promise("no-stored-secret")
def test_a_mailer_without_any_stored_secret_mails(installation: Installation) -> None:
    with installation.team() as team:
        team.kubectl("delete", "secret", "credential")
        annotations = {names.WORKLOAD_IDENTITY_ANNOTATION: team.client_id}
        metadata = {"name": "mailer", "annotations": annotations}
        team.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
        trust(team, "mailer")
        allowed = [f"workloadIdentity.serviceAccounts[0].{part}" for part in (f"namespace={team.name}", "name=mailer")]
        with installation.changed(*allowed):
            mailer = team.mailer()
            mailer["spec"]["credential"] = {"workloadIdentity": {"serviceAccountRef": {"name": "mailer"}}}
            team.apply(mailer)
            condition, limit = "--for=condition=Ready", f"--timeout={READY_SECONDS}s"
            team.kubectl("wait", condition, limit, f"o365mailer/{apps.MAILER}", timeout=READY_SECONDS + 30)
            team.apply(apps.deployment({"containers": [team.app(apps.ONCE_AND_STAY)]}))
            team.rolled_out()
            team.mails(atleast=1)
        assert [token["credential"] for token in team.tokens_issued()] == ["federated"]
        secrets = {secret["metadata"]["name"] for secret in team.get("secrets")["items"]}
        assert secrets == {"office365-ca", names.token_secret_name(apps.MAILER)}
