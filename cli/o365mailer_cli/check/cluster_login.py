"""The logins of the cluster's mailers, tried from this machine."""

from o365mailer_cli.check.applicant import from_cluster
from o365mailer_cli.check.asked import Asked
from o365mailer_cli.check.login import login_groups
from o365mailer_cli.errors import ClusterError
from o365mailer_cli.finding import Group
from o365mailer_cli.mailers import read_mailers


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
    return login_groups(from_cluster(asked.cluster, mailers), asked.login)
