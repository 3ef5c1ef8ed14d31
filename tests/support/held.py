"""The objects that a spec names, held in memory (token.credential.Source)."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Held:
    """Secrets and ConfigMaps by name and key."""

    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    config_maps: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
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
