"""Objects of the cluster as the bundle shows them: the fields that are named here, and no others. Pure."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding

from o365mailer_cli.check.deployment import COMPONENT, VERSION_LABEL
from o365mailer_cli.check.mailer import REMEDIES
from o365mailer_cli.check.pods import workload_of
from o365mailer_cli.cluster import Manifest
from o365mailer_cli.finding import Finding, Group
from o365mailer_cli.relays import Relay, listed, status_of
from o365mailer_cli.support_bundle.logs import OBJECT
from o365mailer_cli.support_bundle.text import GUID, Scrubber, phrases
from o365mailer_contract.names import (
    CONTAINER,
    INJECT_ANNOTATION,
    KIND,
    MAILER_LABEL,
    REFRESH_ANNOTATION,
    STATUS_ANNOTATION,
)
from o365mailer_operator.pki.authority import trusted_by

METADATA: Final = ("name", "namespace", "generation", "creationTimestamp", "deletionTimestamp")
ADDRESSES: Final = frozenset({"mailbox", "redirectTo", "notify", "allowed", "allowedDomains"})
"""Members of a mailer's spec that are addresses or domains."""
SPEC: Final[Mapping[str, re.Pattern[str]]] = {
    "tenantId": re.compile(rf"{GUID.pattern}|[A-Za-z0-9-]{{1,63}}(\.[A-Za-z0-9-]{{1,63}})+"),
    "clientId": GUID,
    "url": re.compile(r"https://[A-Za-z0-9.-]{1,253}(:\d{1,5})?/?"),
    "host": re.compile(r"[A-Za-z0-9.-]{1,253}"),
    "expiresAt": re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]{8,15}(Z|[+-]\d\d:\d\d)"),
    **dict.fromkeys(("messageSize", "maxSize"), re.compile(r"\d{1,15}(Ki|Mi|Gi|k|M|G)?")),
    **dict.fromkeys(("confirmWithin", "maxAge", "keepDead"), re.compile(r"\d{1,15}(ms|s|m|h|d)")),
    **dict.fromkeys(
        ("cloud", "onMismatch", "nullReversePath", "lineEndings", "logLevel"), re.compile(r"[A-Za-z]{2,20}")
    ),
    "name": OBJECT,
    "key": re.compile(r"[A-Za-z][A-Za-z._-]{0,30}"),
}
"""A member of a mailer's spec with a text → its form. Numbers and booleans stay as they are."""
STATUS: Final = (
    *("observedGeneration", "secretName", "tokenExpiry", "tokenRevision", "lastRefresh", "nextRefresh"),
    *("failedAttempts", "lastAttemptTime", "lastFailureTime", "reasonTransitionTime"),
)
LOGIN: Final = ("since", "lastTime", "nextTime", "refusals", "refusedSince", "failures")
"""Of the status' member `login`."""
WORD: Final = re.compile(r"[A-Za-z]{1,40}")
ENVIRONMENT: Final[Mapping[str, re.Pattern[str]]] = {
    **dict.fromkeys(
        ("O365MAILER_LISTEN", "O365MAILER_HEALTH", "O365MAILER_WEBHOOK_LISTEN"), re.compile(r"[0-9.:,\[\]]+")
    ),
    **dict.fromkeys(
        ("O365MAILER_MAILER_DIR", "O365MAILER_SCRATCH_DIR", "O365MAILER_SPOOL_DIR"), re.compile(r"/[a-z0-9/_-]{1,60}")
    ),
    **dict.fromkeys(("O365MAILER_LOG_LEVEL", "O365MAILER_SIDECAR_LOG_LEVEL"), re.compile(r"debug|info|warning|error")),
    **dict.fromkeys(
        ("O365MAILER_ALLOW_AUTHORITY_HOSTS", "O365MAILER_ALLOW_SUBMISSION_HOSTS"), re.compile(r"[A-Za-z0-9.,:-]*")
    ),
    "O365MAILER_WATCH_NAMESPACES": re.compile(r"[a-z0-9,-]*"),
    **dict.fromkeys(
        ("O365MAILER_LEASE_DURATION", "O365MAILER_RECONCILE_INTERVAL", "O365MAILER_GRACE"),
        re.compile(r"(\d+(ms|s|m|h))?"),
    ),
    "O365MAILER_OPENSHIFT": re.compile(r"true|false|auto"),
    "O365MAILER_SIDECAR_SPOOL": re.compile(r"(ephemeral)?"),
}
"""A variable of our own containers → the form of its value. Every other variable is left out, its name too."""
IMAGE: Final = re.compile(r"[a-z0-9./:_-]{1,200}(@sha256:[0-9a-f]{64})?")


def metadata(manifest: Manifest) -> Manifest:
    """Name, namespace and times. Labels and annotations are not in it."""
    return {key: manifest["metadata"][key] for key in METADATA if key in manifest["metadata"]}


def mailer_record(manifest: Manifest, scrubber: Scrubber) -> Manifest:
    """A mailer: the spec with placeholders, and the status."""
    status = manifest.get("status") or {}
    login = status.get("login") or {}
    return {
        "metadata": metadata(manifest),
        "refreshWasAsked": REFRESH_ANNOTATION in (manifest["metadata"].get("annotations") or {}),
        "spec": _member("spec", manifest.get("spec") or {}, scrubber),
        "status": {
            **{key: status[key] for key in STATUS if isinstance(status.get(key), int | str)},
            "login": {key: login[key] for key in LOGIN if isinstance(login.get(key), int | str)},
            "conditions": [_condition(each, scrubber) for each in status.get("conditions") or ()],
        },
    }


def _member(name: str, value: Any, scrubber: Scrubber) -> Any:
    if isinstance(value, dict):
        return {key: _member(key, below, scrubber) for key, below in value.items()}
    if isinstance(value, list):
        return [_member(name, each, scrubber) for each in value]
    if not isinstance(value, str):
        return value
    if name in ADDRESSES:
        return value if (name, value) == ("notify", "sender") else scrubber.address(value)
    form = SPEC.get(name)
    return value if form and form.fullmatch(value) else "[left out]"


def _condition(condition: Manifest, scrubber: Scrubber) -> Manifest:
    """A condition of ours with its message; of another writer's only its status."""
    known = condition.get("reason") in REMEDIES or condition.get("reason") in ("TokenValid", "TokenIssued")
    kept: tuple[str, ...] = ("status", "lastTransitionTime", "observedGeneration")
    own = {key: condition[key] for key in kept if key in condition}
    if not known:
        return {"type": _word(condition.get("type")), **own}
    message = scrubber.text(str(condition.get("message", "")))
    return {"type": _word(condition.get("type")), "reason": condition["reason"], **own, "message": message}


def deployment_record(manifest: Manifest) -> Manifest:
    """The controller's or the webhook's Deployment."""
    labels = manifest["metadata"].get("labels") or {}
    spec, status = manifest["spec"], manifest.get("status") or {}
    pod = spec["template"]["spec"]
    return {
        "metadata": metadata(manifest),
        "component": _word(labels.get(COMPONENT)),
        "version": _formed(labels.get(VERSION_LABEL), re.compile(r"\d+\.\d+\.\d+[a-z0-9.+-]{0,16}")),
        "replicas": spec.get("replicas"),
        "status": {key: value for key, value in status.items() if isinstance(value, int)},
        "conditions": [
            {key: _word(each.get(key)) for key in ("type", "status", "reason")}
            for each in status.get("conditions") or ()
        ],
        "containers": [_own_container(each) for each in pod.get("containers") or ()],
        "hostNetwork": bool(pod.get("hostNetwork")),
    }


def _own_container(container: Manifest) -> Manifest:
    return {
        "name": _formed(container.get("name"), OBJECT),
        "image": _formed(container.get("image"), IMAGE),
        "resources": {
            kind: {str(name): str(amount) for name, amount in given.items() if len(str(amount)) < 12}
            for kind, given in (container.get("resources") or {}).items()
            if isinstance(given, dict)
        },
        "environment": {
            each["name"]: _formed(each.get("value", ""), ENVIRONMENT[each["name"]])
            for each in container.get("env") or ()
            if each["name"] in ENVIRONMENT
        },
        "mounts": [_formed(each.get("name"), OBJECT) for each in container.get("volumeMounts") or ()],
    }


def webhook_record(manifest: Manifest) -> Manifest:
    """The webhook configuration, with the ends and the digests of the certificates that the API server trusts."""
    return {
        "metadata": metadata(manifest),
        "webhooks": [
            {
                "name": each["name"],
                "failurePolicy": each.get("failurePolicy"),
                "timeoutSeconds": each.get("timeoutSeconds"),
                "namespaceSelector": _selector(each.get("namespaceSelector") or {}),
                "service": {
                    key: (each["clientConfig"].get("service") or {}).get(key)
                    for key in ("namespace", "name", "port", "path")
                },
                "rules": each.get("rules"),
                "matchConditions": [condition["name"] for condition in each.get("matchConditions") or ()],
            }
            for each in manifest.get("webhooks") or ()
        ],
        "trusted": [
            {
                "notBefore": each.not_valid_before_utc.isoformat(),
                "notAfter": each.not_valid_after_utc.isoformat(),
                "sha256": hashlib.sha256(each.public_bytes(Encoding.DER)).hexdigest()[:16],
            }
            for each in trusted_by(manifest)
        ],
    }


def _selector(selector: Manifest) -> Manifest:
    return {
        "matchLabels": sorted(selector.get("matchLabels") or {}),
        "matchExpressions": [
            {"key": each["key"], "operator": each["operator"], "values": len(each.get("values") or ())}
            for each in selector.get("matchExpressions") or ()
        ],
    }


def pod_record(pod: Manifest) -> Manifest:
    """A pod with a relay, or one that should have one. Of the app's containers only how many there are."""
    relay, told = Relay(pod), status_of(pod)
    annotations = pod["metadata"].get("annotations") or {}
    statuses = [
        *(pod.get("status", {}).get("initContainerStatuses") or ()),
        *(pod.get("status", {}).get("containerStatuses") or ()),
    ]
    return {
        "metadata": metadata(pod),
        "workload": workload_of(pod),
        "phase": relay.phase,
        "annotated": _formed(annotations.get(INJECT_ANNOTATION), OBJECT),
        "mailer": _formed((pod["metadata"].get("labels") or {}).get(MAILER_LABEL), OBJECT),
        "injected": STATUS_ANNOTATION in annotations,
        "ports": [each for each in listed(told.get("ports")) if isinstance(each, int)],
        "healthPort": relay.health_port,
        "spool": bool(told.get("spool")),
        "notes": len(listed(told.get("notes"))),
        "restartPolicy": _word(pod["spec"].get("restartPolicy")),
        "otherContainers": len(pod["spec"].get("containers") or ()),
        "relay": _own_container(relay.container) if relay.container else None,
        "relayState": next((_state(each) for each in statuses if each["name"] == CONTAINER), None),
    }


def _state(status: Manifest) -> Manifest:
    def ended(state: Manifest | None) -> Manifest | None:
        terminated = (state or {}).get("terminated")
        if not terminated:
            return None
        kept = {key: terminated.get(key) for key in ("exitCode", "startedAt", "finishedAt")}
        return {**kept, "reason": _word(terminated.get("reason")), "phrases": phrases(str(terminated.get("message")))}

    state = status.get("state") or {}
    return {
        "ready": status.get("ready"),
        "restartCount": status.get("restartCount"),
        "state": sorted(state),
        "waiting": _word((state.get("waiting") or {}).get("reason")),
        "ended": ended(state),
        "endedBefore": ended(status.get("lastState")),
    }


def event_record(event: Manifest) -> Manifest:
    """An Event, without its message."""
    about = event.get("involvedObject") or {}
    kind = KIND if about.get("kind") == KIND else _word(about.get("kind"))  # ours has digits, no other known one has
    return {
        "namespace": event["metadata"].get("namespace"),
        "about": f"{kind}/{_formed(about.get('name'), OBJECT)}",
        "type": _word(event.get("type")),
        "reason": _word(event.get("reason")),
        "count": event.get("count"),
        "last": event.get("lastTimestamp") or event.get("eventTime"),
        "phrases": phrases(str(event.get("message", ""))),
    }


def group_records(groups: Sequence[Group], scrubber: Scrubber) -> list[Manifest]:
    """What `check` finds, without its causes: those quote the cluster's texts."""
    return [
        {"title": group.title, "findings": [_finding(each, scrubber) for each in group.findings]} for group in groups
    ]


def _finding(finding: Finding, scrubber: Scrubber) -> Manifest:
    return {
        "name": finding.name,
        "status": finding.status.value,
        "title": scrubber.text(finding.title) if finding.name != "api.reachable" else "the API server answers",
        "subject": scrubber.text(finding.subject),
        "phrases": phrases(finding.cause),
        "link": finding.link,
    }


def _word(value: Any) -> str:
    return _formed(value, WORD)


def _formed(value: Any, form: re.Pattern[str]) -> str:
    """The text, if it is of this form."""
    if value is None:
        return ""
    return value if isinstance(value, str) and form.fullmatch(value) else "[left out]"
