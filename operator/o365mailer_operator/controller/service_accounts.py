"""Reads the ServiceAccounts that mailers name, and requests tokens of them.

The chart's value workloadIdentity.serviceAccounts gives both rights, each for the named ServiceAccounts alone.
"""

from dataclasses import dataclass
from typing import Final

from o365mailer_operator.controller.cluster import SERVICE_ACCOUNTS, Cluster
from o365mailer_operator.controller.cluster_errors import Absent, ClusterError, Forbidden
from o365mailer_operator.token.credential import ServiceAccount
from o365mailer_operator.token.errors import (
    SERVICE_ACCOUNT_NOT_FOUND,
    SERVICE_ACCOUNT_UNREADABLE,
    TOKEN_REQUEST_FAILED,
    TOKEN_REQUEST_FORBIDDEN,
    ServiceAccountError,
)

LIFETIME: Final = 600
"""Seconds, the shortest that the API server takes. Entra is asked at once, and the token is never stored."""


@dataclass(frozen=True)
class ServiceAccounts:
    """The ServiceAccounts of a cluster."""

    cluster: Cluster

    async def read(self, name: str, *, namespace: str, cached: bool) -> ServiceAccount | ServiceAccountError | None:
        """The ServiceAccount, why it may not be read, or None if there is none. Raises ClusterError but Forbidden."""
        try:
            found = await self.cluster.find(SERVICE_ACCOUNTS, name=name, namespace=namespace, cached=cached)
        except Forbidden:
            return _forbidden(name, namespace=namespace)
        return ServiceAccount.of(found) if found is not None else None

    async def request_token(self, account: ServiceAccount, audience: str) -> str:
        """A new token of the ServiceAccount, good for `audience` alone. Raises ServiceAccountError."""
        try:
            return await self.cluster.request_token(
                name=account.name, namespace=account.namespace, audience=audience, seconds=LIFETIME
            )
        except Absent:
            reason, text = SERVICE_ACCOUNT_NOT_FOUND, f"The ServiceAccount {account.name} was deleted meanwhile."
        except Forbidden:
            reason = TOKEN_REQUEST_FORBIDDEN
            text = (
                f"The controller may not request tokens of the ServiceAccount {account.name}. "
                f"{_grant(account.name, namespace=account.namespace)}"
            )
        except ClusterError as error:
            reason = TOKEN_REQUEST_FAILED
            text = f"The API server gave no token of the ServiceAccount {account.name} ({error}). It is tried again."
        raise ServiceAccountError(reason, text, service_account=account.name)


def _forbidden(name: str, *, namespace: str) -> ServiceAccountError:
    return ServiceAccountError(
        SERVICE_ACCOUNT_UNREADABLE,
        f"The controller may not read the ServiceAccount {name} in this namespace. {_grant(name, namespace=namespace)}",
        service_account=name,
    )


def _grant(name: str, *, namespace: str) -> str:
    return (
        "Have it added to the chart's value workloadIdentity.serviceAccounts, as "
        f"{{namespace: {namespace}, name: {name}}}."
    )
