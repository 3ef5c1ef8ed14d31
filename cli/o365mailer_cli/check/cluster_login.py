"""The logins of the cluster's mailers, tried from this machine."""

import dataclasses
import functools
from typing import Final

from o365mailer_cli.check.applicant import from_cluster
from o365mailer_cli.check.asked import Asked
from o365mailer_cli.check.login import login_groups
from o365mailer_cli.cluster import Cluster
from o365mailer_cli.errors import ClusterError, Forbidden
from o365mailer_cli.finding import Group
from o365mailer_cli.mailers import read_mailers
from o365mailer_operator.token.credential import ServiceAccount
from o365mailer_operator.token.entra import in_daemon_thread
from o365mailer_operator.token.errors import TOKEN_REQUEST_FAILED, TOKEN_REQUEST_FORBIDDEN, ServiceAccountError

LIFETIME: Final = 600
"""Seconds, the shortest that the API server takes."""


def cluster_logins(asked: Asked) -> list[Group]:
    """The findings on the logins; none if they were not asked for. Raises ClusterError if the mailer is not there."""
    if asked.login is None:
        return []
    try:
        mailers = read_mailers(asked.cluster, namespace=asked.namespace, name=asked.mailer)
    except ClusterError:
        if asked.mailer:
            raise
        return []  # the findings on the cluster say so
    options = dataclasses.replace(asked.login, request_token=functools.partial(_token, asked.cluster))
    return login_groups(from_cluster(asked.cluster, mailers), options)


async def _token(cluster: Cluster, account: ServiceAccount, audience: str) -> str:
    """A token of the ServiceAccount, requested with the user's own rights. Raises ServiceAccountError."""
    request = functools.partial(cluster.request_token, name=account.name, namespace=account.namespace)
    try:
        return await in_daemon_thread(lambda: request(audience=audience, seconds=LIFETIME), name="service-account")
    except Forbidden:
        reason, text = (
            TOKEN_REQUEST_FORBIDDEN,
            (
                f"You may not request tokens of the ServiceAccount {account.name}. Look at the mailer's condition "
                "TokenIssued, which the controller sets. To try the login, ask for the right to create "
                "serviceaccounts/token."
            ),
        )
    except ClusterError as error:
        reason, text = TOKEN_REQUEST_FAILED, f"The API server gave no token of the ServiceAccount: {error}"
    raise ServiceAccountError(reason, text, service_account=account.name)
