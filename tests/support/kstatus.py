"""What tools that know no O365Mailer make of one: the rules of kstatus, which Flux, kpt and others use.

Written from its documentation: https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md ("The
Ready condition", "Standard conditions"), read 2026-11-28. In this order, the first that applies decides:

1. An object with a deletionTimestamp is Terminating.
2. One whose status.observedGeneration is there and is not metadata.generation is InProgress.
3. The first condition Reconciling or Stalled that is True: InProgress, or Failed.
4. A condition Ready that is True: Current; any other Ready: InProgress.
5. An object without any of these is Current.
"""

from typing import Any

_STANDARD = {"Reconciling": "InProgress", "Stalled": "Failed"}


def kstatus(manifest: dict[str, Any]) -> str:
    """The status of a custom resource."""
    metadata, status = manifest["metadata"], manifest.get("status", {})
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    if status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return "InProgress"
    conditions = status.get("conditions", [])
    for condition in conditions:
        if condition["type"] in _STANDARD and condition["status"] == "True":
            return _STANDARD[condition["type"]]
    ready = next((condition["status"] for condition in conditions if condition["type"] == "Ready"), None)
    return "Current" if ready in (None, "True") else "InProgress"
