"""Apps that may ask for a relay, and what `explain` says of them."""

from typing import Any

from command.team import Team

INJECT = "o365mailer.dev/inject"


def deployment(annotations: dict[str, str], *, inner: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A Deployment `web` of one pod; `inner` are the annotations of its pod template."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "annotations": annotations},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": inner or {}},
                "spec": {"containers": [{"name": "app", "image": "app"}], **spec},
            },
        },
    }


def pods(team: Team) -> list[Any]:
    """The pods of the namespace."""
    return list(team.kubectl.json("get", "pods", "-n", team.namespace)["items"])


def refused(team: Team) -> bool:
    """Whether an Event says that a pod was not created."""
    fields = "--field-selector=reason=FailedCreate"
    return bool(team.kubectl.json("get", "events", "-n", team.namespace, fields)["items"])


def findings(told: Any) -> dict[str, Any]:
    """The findings by name."""
    return {each["name"]: each for group in told.json["groups"] for each in group["findings"]}
