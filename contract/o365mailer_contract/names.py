"""Every name that crosses a process boundary, in one place.

The controller writes the mailer directory, the webhook mounts it, the relay reads it. Users write the annotations.
`o365mailer run` starts the relay and reads its log. Names may be added here. A name that a released version has written
never changes, because pods live for months.
"""

from typing import Final

RELEASE: Final = "0.1.0"
"""The version of all parts, as pyproject.toml has it. The metadata of the installed package has it too, but importlib
would cost each relay 1.4 MB to read it (measured 2026-11-28, CPython 3.11)."""

# --- The API group --------------------------------------------------------------------------------------------------

GROUP: Final = "o365mailer.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "O365Mailer"
PLURAL: Final = "o365mailers"

HOME: Final = "https://github.com/o365mailer/o365mailer"
DOCS: Final = f"{HOME}/blob/main/docs"
"""Where a message sends its reader: `{DOCS}/troubleshooting.md#secretnotfound`."""

# --- Annotations and labels -----------------------------------------------------------------------------------------

INJECT_ANNOTATION: Final = f"{GROUP}/inject"
"""On a pod template, or on a workload: the name of the mailer whose sidecar the pod gets."""

PORTS_ANNOTATION: Final = f"{GROUP}/ports"
"""On a pod template: the loopback ports, comma-separated, instead of `25,587`."""

HEALTH_PORT_ANNOTATION: Final = f"{GROUP}/health-port"
"""On a pod template: the port of /livez, /readyz and /metrics, instead of 9025."""

RESOURCE_ANNOTATIONS: Final = {
    f"{GROUP}/cpu-request": ("requests", "cpu"),
    f"{GROUP}/cpu-limit": ("limits", "cpu"),
    f"{GROUP}/memory-request": ("requests", "memory"),
    f"{GROUP}/memory-limit": ("limits", "memory"),
    f"{GROUP}/ephemeral-storage-request": ("requests", "ephemeral-storage"),
    f"{GROUP}/ephemeral-storage-limit": ("limits", "ephemeral-storage"),
}
"""On a pod template: one resource of the injected container each, as Kubernetes quantities."""

SPOOL_ANNOTATION: Final = f"{GROUP}/spool"
"""On a pod template: `ephemeral`, the name of a PersistentVolumeClaim, or `none`.

It says where the sidecar queues mail, instead of the installation's default."""

SPOOL_EPHEMERAL: Final = "ephemeral"
"""An emptyDir. It survives restarts of the container and the node, and ends with the pod."""
SPOOL_NONE: Final = "none"
"""No spool: the app gets Exchange's verdict or a 451."""

STATUS_ANNOTATION: Final = f"{GROUP}/status"
"""The webhook writes it on the pod: what it did, as JSON."""

MAILER_LABEL: Final = f"{GROUP}/mailer"
"""On an injected pod and on a token Secret: the mailer's name. With MANAGED_BY it marks the controller's Secrets."""

MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "o365mailer"

WORKLOAD_IDENTITY_ANNOTATION: Final = f"{GROUP}/workload-identity"
"""On a ServiceAccount: the client id of the one application that its tokens may be presented for."""
REFRESH_ANNOTATION: Final = f"{GROUP}/refresh"
"""On an O365Mailer: any new value requests a fresh token now, despite every backoff."""

USER_ANNOTATIONS: Final = frozenset(
    {INJECT_ANNOTATION, PORTS_ANNOTATION, HEALTH_PORT_ANNOTATION, SPOOL_ANNOTATION, *RESOURCE_ANNOTATIONS}
)
"""What a user may write on a pod template. Any other annotation of this group is a typo."""

# --- The mailer directory (a Secret's keys in a cluster) -------------------------------------------------------------

TOKEN_FILE: Final = "access_token"
SETTINGS_FILE: Final = "mailer.json"
CA_FILE: Final = "ca.crt"
DATA_LINK: Final = "..data"
"""The symbolic link that the kubelet replaces to change all files of a volume at once."""


def token_secret_name(mailer: str) -> str:
    """The name of the Secret that contains a mailer's directory."""
    return f"o365mailer.{mailer}"


# --- The injected container -----------------------------------------------------------------------------------------

CONTAINER: Final = "o365mailer"
SIDECAR_USER: Final = 36525
"""The sidecar's uid and gid, a number that no known image uses (65532 is distroless', 2102 Linkerd's, 1337 Istio's): a
process of the same uid may send signals to the sidecar where processes are shared. OpenShift chooses another one. At
most 65535, so that it exists in a user namespace (`hostUsers: false`)."""
AWAIT_READY: Final = "o365mailer-await-ready"
"""The program of the sidecar's image that waits until the relay listens."""
DIRECTORY_VOLUME: Final = "o365mailer-directory"
DIRECTORY_MOUNT: Final = "/var/run/o365mailer"
SCRATCH_VOLUME: Final = "o365mailer-scratch"
SCRATCH_MOUNT: Final = "/var/lib/o365mailer"
SPOOL_VOLUME: Final = "o365mailer-spool"
SPOOL_MOUNT: Final = "/var/spool/o365mailer"
NO_API_VOLUME: Final = "o365mailer-no-api-access"
"""An empty volume in place of the pod's ServiceAccount token, so that the sidecar has no access to the API."""
NO_API_MOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"

SMTP_PORT: Final = 25
SUBMISSION_PORT: Final = 587
HEALTH_PORT: Final = 9025
WEBHOOK_PORT: Final = 10250
"""GKE's private clusters let the control plane reach nodes only on 443 and 10250."""

# --- The relay as a process: how `o365mailer run` and Kubernetes see it ---------------------------------------------

EXIT_WRONG_USAGE: Final = 2
"""Exit status for a wrong command line or an unusable spool."""
EXIT_MAIL_LEFT: Final = 75
"""Exit status after a stop that left mail in the spool: EX_TEMPFAIL of sysexits.h, "try again later"."""
EVENT_LISTENING: Final = "listening"
"""The log event for each address: `protocol` (smtp, health), `host`, `port`."""
EVENT_MESSAGE: Final = "message"
"""The log event for each settled message: the audit record, with `outcome` and `queue_id` among others."""
OUTCOME_DEAD: Final = "dead"
"""The outcome of a spooled message that failed for good."""

# --- The spool directory, as far as other processes look into it ------------------------------------------------------

SPOOL_QUEUE: Final = "queue"
"""`<spool>/<number>/queue/<queue id>`: one file per queued message. Names that begin with a dot are no messages."""

LIVEZ: Final = "/livez"
READYZ: Final = "/readyz"
METRICS: Final = "/metrics"

# --- The relay's environment: each variable stands for the flag of that name ------------------------------------------

ENV_MAILER_DIR: Final = "O365MAILER_MAILER_DIR"
ENV_LISTEN: Final = "O365MAILER_LISTEN"
"""Comma-separated `host:port`; an IPv6 address in brackets."""
ENV_HEALTH: Final = "O365MAILER_HEALTH"
ENV_GRACE: Final = "O365MAILER_GRACE"
ENV_SCRATCH_DIR: Final = "O365MAILER_SCRATCH_DIR"
ENV_SPOOL_DIR: Final = "O365MAILER_SPOOL_DIR"
"""Unset: no spool."""
ENV_LOG_LEVEL: Final = "O365MAILER_LOG_LEVEL"

# --- The controller's rights ------------------------------------------------------------------------------------------

CONTROLLER_ACCOUNT: Final = "o365mailer-controller"
"""Its ServiceAccount, in the operator's namespace."""
SECRETS_ROLE: Final = "o365mailer-secrets"
"""The chart's ClusterRole with what the controller needs of Secrets."""


def grant_command(*, namespace: str, operator: str) -> str:
    """The command with which an administrator of a namespace gives the controller its rights on the Secrets there.

    `operator`: the namespace that the controller runs in.
    """
    role = f"{SECRETS_ROLE} -n {namespace} --clusterrole={SECRETS_ROLE}"
    return f"kubectl create rolebinding {role} --serviceaccount={operator}:{CONTROLLER_ACCOUNT}"


# --- The webhook ----------------------------------------------------------------------------------------------------

WEBHOOK_NAME: Final = "admission.o365mailer.dev"
"""It sorts before the names of the meshes' webhooks, so that a mesh puts its container before the relay's."""
PODS_WEBHOOK: Final = f"pods.{WEBHOOK_NAME}"
WORKLOADS_WEBHOOK: Final = f"workloads.{WEBHOOK_NAME}"
PODS_PATH: Final = "/pods"
WORKLOADS_PATH: Final = "/workloads"
CA_SECRET: Final = "o365mailer-webhook-ca"
"""In the operator's namespace. The controller creates and renews it, and the webhook mounts it."""
CA_SECRET_CERTIFICATE: Final = "ca.crt"
"""The certificates that the API server trusts: the signing one, then its predecessor while both are in use."""
CA_SECRET_SIGNER: Final = "tls.crt"
CA_SECRET_KEY: Final = "tls.key"
