"""The injected container and its volumes, as Kubernetes manifests.

Everything that Pod Security's `restricted` profile requires is on the container itself, so that it holds in pods with
laxer settings of their own (kubernetes.io, "Pod Security Standards").
"""

from typing import Any, Final

from o365mailer_contract import names
from o365mailer_operator.webhook.pod import PodSecurityContext, PodSpec
from o365mailer_operator.webhook.ports import Listening
from o365mailer_operator.webhook.resources import Amounts
from o365mailer_operator.webhook.settings import Settings
from o365mailer_operator.webhook.spool import Spool

HEALTH_PORT_NAME: Final = "o365m-health"
"""At most 15 characters (IANA service name); PodMonitors refer to it."""
LOCAL_VOLUMES: Final = (names.SCRATCH_VOLUME, names.NO_API_VOLUME)
"""The emptyDirs whose content need not outlive the pod. An annotation tells the cluster autoscaler."""


def container(
    spec: PodSpec, *, listening: Listening, spool: Spool | None, amounts: Amounts, settings: Settings
) -> dict[str, Any]:
    """A native sidecar: an init container that stays (`restartPolicy: Always`; kubernetes.io, "Sidecar Containers").

    It has no probes. kubelet starts the next container when the postStart hook has returned, without the second of a
    startup probe's period. A relay that hangs ends itself, and a relay in trouble must not take the app out of service.
    A service mesh would rewrite probes (Istio sends them to a container that starts after ours), and kubelet has faults
    with startup probes of sidecars (kubernetes#132826, kubernetes#137146).
    """
    resources = {"requests": dict(amounts.requests), "limits": dict(amounts.limits)}
    return {
        "name": names.CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "restartPolicy": "Always",
        "env": _environment(listening, spool=spool, log_level=settings.log_level),
        "ports": [{"name": HEALTH_PORT_NAME, "containerPort": listening.health_port, "protocol": "TCP"}],
        "resources": {kind: named for kind, named in resources.items() if named},
        "securityContext": _security_context(spec, openshift=settings.openshift),
        "lifecycle": {"postStart": {"exec": {"command": [names.AWAIT_READY, str(listening.health_port)]}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": names.DIRECTORY_VOLUME, "mountPath": names.DIRECTORY_MOUNT, "readOnly": True},
            {"name": names.SCRATCH_VOLUME, "mountPath": names.SCRATCH_MOUNT},
            {"name": names.NO_API_VOLUME, "mountPath": names.NO_API_MOUNT, "readOnly": True},
            *([{"name": names.SPOOL_VOLUME, "mountPath": names.SPOOL_MOUNT}] if spool else []),
        ],
    }


def volumes(mailer: str, spool: Spool | None) -> list[dict[str, Any]]:
    """The mailer directory, the scratch space, an empty volume that hides the ServiceAccount token, and any spool.

    The directory is optional, so that the pod starts before its mailer is Ready, and readable by all, because any uid
    may run the sidecar and no other container mounts it. No emptyDir has a sizeLimit: exceeding it would evict the app.
    """
    secret = {"secretName": names.token_secret_name(mailer), "optional": True, "defaultMode": 0o444}
    return [
        {"name": names.DIRECTORY_VOLUME, "secret": secret},
        {"name": names.SCRATCH_VOLUME, "emptyDir": {}},
        {"name": names.NO_API_VOLUME, "emptyDir": {}},
        *([spool.volume()] if spool else []),
    ]


def _environment(listening: Listening, *, spool: Spool | None, log_level: str | None) -> list[dict[str, str]]:
    values = {
        names.ENV_MAILER_DIR: names.DIRECTORY_MOUNT,
        names.ENV_LISTEN: ",".join(listening.addresses()),
        names.ENV_HEALTH: f"[::]:{listening.health_port}",
        names.ENV_SCRATCH_DIR: names.SCRATCH_MOUNT,
    }
    if spool is not None:
        values[names.ENV_SPOOL_DIR] = names.SPOOL_MOUNT
    if log_level is not None:
        values[names.ENV_LOG_LEVEL] = log_level
    return [{"name": name, "value": value} for name, value in values.items()]


def _security_context(spec: PodSpec, *, openshift: bool) -> dict[str, Any]:
    """Overrides what the container would inherit from the pod and must not.

    OpenShift gives each namespace its own uids, so none is written there, unless the pod runs as root (a pod that may
    run as root may run as any uid). An AppArmor profile of the node's (Localhost) was made for the app and could deny
    the sidecar its files; a node that has one has the runtime's own too. The legacy annotations name one container
    each, never the sidecar.
    """
    pod = spec.security_context or PodSecurityContext()
    user = (
        {}
        if openshift and pod.run_as_user != 0
        else {"runAsUser": names.SIDECAR_USER, "runAsGroup": names.SIDECAR_USER}
    )
    apps_profile = pod.app_armor_profile is not None and pod.app_armor_profile.type == "Localhost"
    return {
        **user,
        **({"appArmorProfile": {"type": "RuntimeDefault"}} if apps_profile else {}),
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
