"""The objects that a spec names, held in memory (token.credential.Source)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from o365mailer_operator.token.credential import ServiceAccount


@dataclass(frozen=True)
class Held:
    """Secrets and ConfigMaps by name and key, ServiceAccounts by name."""

    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    config_maps: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    service_accounts: Mapping[str, ServiceAccount] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """The names of what was read."""

    def secret(self, name: str) -> Mapping[str, bytes] | None:
        """The Secret's keys."""
        self.asked.append(name)
        return self.secrets.get(name)

    def config_map(self, name: str) -> Mapping[str, bytes] | None:
        """The ConfigMap's keys."""
        self.asked.append(name)
        return self.config_maps.get(name)

    def service_account(self, name: str) -> ServiceAccount | None:
        """The ServiceAccount."""
        self.asked.append(name)
        return self.service_accounts.get(name)
