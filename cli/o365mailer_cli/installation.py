"""The installation of O365 Mailer in a cluster: the webhook's configuration, and the image that it injects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from o365mailer_cli.cluster import DEPLOYMENTS, WEBHOOKS, Cluster, Manifest
from o365mailer_cli.errors import ClusterError
from o365mailer_contract.names import PODS_WEBHOOK, WEBHOOK_NAME

DEPLOYMENT: Final = "o365mailer-webhook"
ENV_SIDECAR_IMAGE: Final = "O365MAILER_SIDECAR_IMAGE"
"""Of the webhook's container."""


@dataclass(frozen=True)
class Installation:
    """What the cluster says of the webhook. A part that the user may not read, or that is not there, is None."""

    configuration: Manifest | None
    """The MutatingWebhookConfiguration."""
    deployment: Manifest | None
    """The webhook's Deployment."""

    @property
    def pods_webhook(self) -> dict[str, Any]:
        """The entry of the configuration that injects pods; empty if there is none."""
        return pods_entry(self.configuration)

    @property
    def namespace(self) -> str:
        """Where the webhook runs; empty if that is unknown."""
        return str((self.pods_webhook.get("clientConfig", {}).get("service") or {}).get("namespace", ""))

    @property
    def sidecar_image(self) -> str:
        """What the webhook injects now; empty if that is unknown."""
        template = ((self.deployment or {}).get("spec") or {}).get("template", {}).get("spec", {})
        variables = [each for container in template.get("containers", ()) for each in container.get("env") or ()]
        return next((each.get("value", "") for each in variables if each["name"] == ENV_SIDECAR_IMAGE), "")


def pods_entry(configuration: Manifest | ClusterError | None) -> dict[str, Any]:
    """The entry that injects pods; empty if there is none, or if the configuration could not be read."""
    if not isinstance(configuration, Mapping):
        return {}
    entries = configuration.get("webhooks") or ()
    return next((dict(each) for each in entries if each["name"] == PODS_WEBHOOK), {})


def unmet(selector: Manifest | None, labels: Mapping[str, str]) -> str:
    """The first requirement of a label selector (metav1.LabelSelector) that these labels do not meet; empty if it
    selects them. No selector selects everything."""
    for key, value in ((selector or {}).get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return f"the label {key}={value}"
    for each in (selector or {}).get("matchExpressions") or ():
        if not _met(each, labels):
            values = f" ({', '.join(each['values'])})" if each.get("values") else ""
            return f"{each['key']} {each['operator']}{values}"
    return ""


def _met(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether labels meet one requirement (k8s.io/apimachinery, labels.Requirement.Matches)."""
    key, values = requirement["key"], requirement.get("values") or ()
    match requirement["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def read_installation(cluster: Cluster) -> Installation:
    """What the user may read of the installation."""
    configuration = _find(cluster, WEBHOOKS, WEBHOOK_NAME)
    known = Installation(configuration, None)
    if not known.namespace:
        return known
    return Installation(configuration, _find(cluster, DEPLOYMENTS, DEPLOYMENT, known.namespace))


def _find(cluster: Cluster, resource: Any, name: str, namespace: str | None = None) -> Manifest | None:
    try:
        return cluster.find(resource, name=name, namespace=namespace)
    except ClusterError:
        return None
