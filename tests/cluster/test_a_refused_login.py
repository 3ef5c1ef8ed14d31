"""An application that Exchange refuses: the mailer says so before any mail, and when the right has come."""

import pytest
from cluster import apps
from cluster.installation import Installation

pytestmark = pytest.mark.timeout(300)


@pytest.mark.promise("refused-login-is-told")
def test_an_application_without_a_right_is_told_with_the_commands_before_any_mail(installation: Installation) -> None:
    with installation.team() as team:
        team.office365.control("PATCH", f"/mailboxes/{team.mailbox}", {"applications": []})
        team.apply_mailer()
        mailer = f"o365mailer/{apps.MAILER}"
        team.kubectl("wait", "--for=condition=Authenticated=False", "--timeout=60s", mailer)
        told = team.kubectl("describe", mailer)
        assert "LoginPending" in told
        assert f"Exchange refuses the login as {team.mailbox} (token): 535 5.7.3" in told
        assert f"New-ServicePrincipal -AppId {team.client_id} -ObjectId " in told
        assert f"Test-ServicePrincipalAuthorization -Identity {team.client_id} -Resource {team.mailbox}" in told
        team.office365.register(client_id=team.client_id, secret=team.secret, mailbox=team.mailbox)
        team.kubectl("annotate", mailer, "--overwrite", "o365mailer.dev/refresh=now")
        team.kubectl("wait", "--for=condition=Authenticated=True", "--timeout=90s", mailer)
        assert team.mails() == []
