"""What the user asked `check` to look at."""

from dataclasses import dataclass

from o365mailer_cli.check.login import LoginOptions
from o365mailer_cli.cluster import Cluster


@dataclass(frozen=True)
class Asked:
    """A cluster, and where in it to look."""

    cluster: Cluster
    namespace: str | None
    """None: all namespaces."""
    mailer: str | None = None
    """None: all mailers there."""
    login: LoginOptions | None = None
    """How to try the logins of these mailers; None: they are not tried."""

    @property
    def place(self) -> str:
        """For messages."""
        return f"namespace {self.namespace}" if self.namespace else "the cluster"
