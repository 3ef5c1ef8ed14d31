"""What a scan looks at, from a cluster or from files: workloads, what they are configured with, and mailers."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field

from o365mailer_cli.scan.move import Mailer
from o365mailer_cli.scan.workload import Data, Object, Stored, Workload, mapping_at, read_workload, text_at
from o365mailer_contract.names import KIND


@dataclass
class Inventory:
    """Everything that was read. A finding is made from it without another request."""

    workloads: list[Workload] = field(default_factory=list)
    config_maps: dict[tuple[str, str], Data] = field(default_factory=dict)
    secrets: dict[tuple[str, str], Data] = field(default_factory=dict)
    mailers: list[Mailer] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    """Files that are no Kubernetes objects: path and content."""
    namespace: str = ""
    """The only namespace that was read; empty if there was no such limit."""
    unread: list[str] = field(default_factory=list)
    """What could not be read, each in one sentence with its remedy."""

    @functools.cached_property
    def stored(self) -> Stored:
        """The ConfigMaps and Secrets, also those that are added later."""
        return Stored(self.config_maps, self.secrets)

    def add(self, found: Object, *, secrets: bool) -> bool:
        """Take an object in. False for one that is no Kubernetes object. Secrets are taken only with `secrets`."""
        kind, metadata = text_at(found, "kind"), mapping_at(found, "metadata")
        if not kind or not text_at(found, "apiVersion"):
            return False
        if kind == "List" or (kind.endswith("List") and isinstance(found.get("items"), list)):
            for one in found.get("items") or ():
                if isinstance(one, dict):
                    self.add(one, secrets=secrets)
            return True
        key = (text_at(metadata, "namespace"), text_at(metadata, "name"))
        if kind == "ConfigMap":
            self.config_maps[key] = Data.of_config_map(found)
        elif kind == "Secret" and secrets:
            self.secrets[key] = Data.of_secret(found)
        elif kind == KIND:
            self.mailers.append(Mailer(*key, text_at(mapping_at(found, "spec"), "mailbox")))
        elif (workload := read_workload(found)) is not None:
            self.workloads.append(workload)
        return True

    def add_all(self, found: Iterable[Object], *, kind: str, secrets: bool = False) -> None:
        """Take in the objects of a list of the API server, which leaves out their kind."""
        for one in found:
            self.add({**one, "apiVersion": "v1", "kind": kind}, secrets=secrets)
