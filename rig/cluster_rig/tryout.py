"""`make cluster`: a cluster on this machine with the product installed and an example app whose mail arrives.

Everything a user would type by hand, in the same order and with the same files (examples/, charts/). A second run finds
what is there: images by their content, the cluster by its name, objects by `apply` and `helm upgrade`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from cluster_rig import cache, images
from cluster_rig.choice import Cluster
from cluster_rig.clients import ClientError
from cluster_rig.errors import StartError
from cluster_rig.given import LOADED, OPERATOR

EXAMPLES = images.ROOT / "examples"
CHART = images.ROOT / "charts" / "o365mailer"
EMULATOR = "office365"
EMULATOR_HOST = f"{EMULATOR}.{EMULATOR}.svc.cluster.local"
APP = "shop"
MAILER = "noreply"
SECRETLESS = "secretless"
"""The mailer of examples/workload-identity.yaml, whose credential is a ServiceAccount."""

SERVICE_ACCOUNT = "noreply"
APP_IMAGE = "docker.io/library/python:3.13-slim-trixie"
"""What examples/app.yaml names; replaced where no registry is at hand."""

BUILT_FROM = "example.com/built-from"
"""On the chart's pods, and on Deployments: their image's content, because a rebuilt image keeps its name."""

ROLLOUT = "120s"
MAIL_SECONDS = 120
ASK_SECONDS = 5

NEXT = """
A cluster runs on this machine, and the example app's mail is in the mailbox ({count} so far). Type next:

  export KUBECONFIG={kubeconfig} PATH={programs}:$PATH

  o365mailer status --all-namespaces
      the two mailers, Ready, and their pods
  o365mailer check --namespace {app}
      whether all is well, and if not, what you do about it
  kubectl --namespace {app} get pods
      the app's pod: the app and its relay
  kubectl --namespace {app} logs deployment/shop --container shop
      the app, which sends every 10 seconds
  kubectl --namespace {app} logs --selector o365mailer.dev/mailer={mailer} --container o365mailer
      its relay
  kubectl --namespace {emulator} port-forward service/office365 8080
      the mailboxes, at http://localhost:8080/
  o365mailer refresh {mailer} --namespace {app}
      a fresh token; no pod restarts for it
  kubectl --namespace {app} annotate deployment YOURS o365mailer.dev/inject={mailer}
      gives another app of that namespace its relay
  kubectl --namespace {app} annotate deployment shop o365mailer.dev/inject={secretless} --overwrite
      the app mails through the mailer that has no stored secret: Office 365 trusts the cluster

`make cluster` again installs what you changed; `make cluster-down` removes every trace.
"""


def run(cluster: Cluster) -> str:
    """Brings everything up and returns what to type next, once a mail has arrived.

    Raises:
        RigError: as its kind says; the text ends with what the cluster says about it.
    """
    archives = images.build()
    app_image, app_archive = images.python_image()
    with cache.timed("starting the cluster, or finding it"):
        cluster.up()
    step = "applying examples/namespaces.yaml"
    try:
        cluster.kubectl("apply", "--filename", EXAMPLES / "namespaces.yaml")
        step = "loading images"
        load(cluster, [*archives.values(), app_archive])
        step = "installing the chart"
        contents = {name.split("/")[-1].split(":")[0]: archive.stem for name, archive in archives.items()}
        with cache.timed("installing the chart and the emulator"):
            install_chart(cluster, contents)
            step = "installing the emulator"
            authority = install_emulator(cluster, contents)
        step = "waiting for the first mail"
        with cache.timed("applying the example mailers and app, and waiting for the first mail"):
            apply_mailers(cluster, authority)
            apply_app(cluster, app_image=app_image, sidecar=contents["o365mailer-sidecar"])
            count = wait_for_mail(cluster)
    except ClientError as error:
        raise StartError(f"{step} failed: {error}\n{diagnosis(cluster)}") from error
    return next_steps(cluster, count=count)


def load(cluster: Cluster, archives: list[Path]) -> None:
    """Loads the archives that the cluster does not have yet."""
    annotations = cluster.kubectl.json("get", "namespace", OPERATOR)["metadata"].get("annotations", {})
    loaded = set(annotations.get(LOADED, "").split())
    missing = [archive for archive in archives if archive.stem not in loaded]
    if missing:
        with cache.timed(f"loading {len(missing)} images into the cluster"):
            cluster.load(*missing)
        stems = " ".join(sorted(archive.stem for archive in archives))
        cluster.kubectl("annotate", "namespace", OPERATOR, f"{LOADED}={stems}", "--overwrite")


def install_chart(cluster: Cluster, contents: dict[str, str]) -> None:
    """Installs or upgrades the chart, and waits until both of its Deployments are there."""
    operator, sidecar = contents["o365mailer-operator"], contents["o365mailer-sidecar"]
    values = {
        "allowedHosts": {"authority": [EMULATOR_HOST], "submission": [EMULATOR_HOST]},
        "workloadIdentity": {"serviceAccounts": [{"namespace": APP, "name": SERVICE_ACCOUNT}]},
        "controller": {"podAnnotations": {BUILT_FROM: operator}},
        # The webhook is told of the sidecar's image by name: a rebuilt one changes nothing for it but this.
        "webhook": {"podAnnotations": {BUILT_FROM: f"{operator}.{sidecar}"}},
    }
    arguments = ("upgrade", "--install", "o365mailer", CHART, "--namespace", OPERATOR, "--values", "-")
    cluster.helm(*arguments, "--wait", "--timeout", ROLLOUT, stdin=json.dumps(values), timeout=150)


def install_emulator(cluster: Cluster, contents: dict[str, str]) -> str:
    """Applies the emulator, and hands its authority to the app's namespace as the Secret that the mailers name."""
    tenant = tenant_that_trusts(cluster)
    mounted = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": EMULATOR},
        "data": {"office365.json": tenant},
    }
    cluster.kubectl.apply(mounted, namespace=EMULATOR)
    cluster.kubectl("apply", "--filename", EXAMPLES / "emulator.yaml")
    # The emulator reads its tenant when it starts.
    content = f"{contents['o365mailer-emulator']}.{cache.fingerprint([tenant.encode()])}"
    built_from(cluster, EMULATOR, "office365", content)
    authority = ask_emulator(cluster, "/ca.crt")
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "office365-ca"},
        "stringData": {"ca.crt": authority},
    }
    cluster.kubectl.apply(manifest, namespace=APP)
    return authority


def tenant_that_trusts(cluster: Cluster) -> str:
    """examples/office365.json with the issuer of the cluster's ServiceAccount tokens, and its public keys."""
    issuer = json.loads(cluster.kubectl("get", "--raw", "/.well-known/openid-configuration"))["issuer"]
    keys = cluster.kubectl("get", "--raw", "/openid/v1/jwks")
    tenant = (EXAMPLES / "office365.json").read_text(encoding="utf-8")
    return tenant.replace("ISSUER", issuer).replace('"KEYS"', keys.strip())


def apply_mailers(cluster: Cluster, authority: str) -> None:
    """Applies both mailers and waits until they are Ready, with tokens of the emulator that runs now.

    A replaced emulator has new keys, and takes no token of the one before it: a service that never ends has no such
    moment, so the mailers cannot know and are told.
    """
    for example in ("mailer.yaml", "workload-identity.yaml"):
        cluster.kubectl("apply", "--filename", EXAMPLES / example)
    mailers = ("o365mailer", MAILER, SECRETLESS, "--namespace", APP)
    fresh = f"o365mailer.dev/refresh={cache.fingerprint([authority.encode()])}"
    cluster.kubectl("annotate", *mailers, fresh, "--overwrite")
    cluster.kubectl("wait", *mailers, "--for=condition=Ready", "--timeout=90s", timeout=120)


def apply_app(cluster: Cluster, *, app_image: str, sidecar: str) -> None:
    """Applies the app, with an image of Python that the cluster has."""
    app = (EXAMPLES / "app.yaml").read_text(encoding="utf-8").replace(APP_IMAGE, app_image)
    cluster.kubectl("apply", "--filename", "-", stdin=app)
    built_from(cluster, APP, "shop", sidecar)


def built_from(cluster: Cluster, namespace: str, deployment: str, content: str) -> None:
    """Restarts the Deployment if what it runs has changed since the last run, and waits until its pods are there."""
    where = ("--namespace", namespace)
    annotations = cluster.kubectl.json("get", "deployment", deployment, *where)["metadata"].get("annotations", {})
    if annotations.get(BUILT_FROM, content) != content:
        cluster.kubectl("rollout", "restart", f"deployment/{deployment}", *where)
    cluster.kubectl("annotate", "deployment", deployment, *where, f"{BUILT_FROM}={content}", "--overwrite")
    cluster.kubectl("rollout", "status", f"deployment/{deployment}", *where, f"--timeout={ROLLOUT}", timeout=150)


def ask_emulator(cluster: Cluster, path: str) -> str:
    """What the emulator's control API answers, asked through the API server."""
    service = f"/api/v1/namespaces/{EMULATOR}/services/http:office365:control/proxy"
    return cluster.kubectl("get", "--raw", f"{service}{path}")


def wait_for_mail(cluster: Cluster) -> int:
    """The number of mails in the emulator's mailbox, once there is one.

    Raises:
        ClientError: none came in time.
    """
    deadline = time.monotonic() + MAIL_SECONDS
    while time.monotonic() < deadline:
        answer: dict[str, Any] = json.loads(
            ask_emulator(cluster, f"/messages?atleast=1&wait={ASK_SECONDS}&content=0&mailbox=")
        )
        if answer["messages"]:
            return len(answer["messages"])
    raise ClientError(f"no mail within {MAIL_SECONDS} s")


def diagnosis(cluster: Cluster) -> str:
    """What a person would look at next: pods, mailers, and the last lines of the parts."""
    where = ("--namespace", OPERATOR)
    commands = (
        ("get", "pods,o365mailers", "--all-namespaces"),
        ("get", "events", "--all-namespaces", "--field-selector=type=Warning", "--sort-by=.lastTimestamp"),
        ("logs", *where, "--selector=app.kubernetes.io/component=controller", "--tail=15"),
        ("logs", *where, "--selector=app.kubernetes.io/component=webhook", "--tail=10"),
        ("logs", "--namespace", EMULATOR, "deployment/office365", "--tail=10"),
        ("logs", "--namespace", APP, "deployment/shop", "--all-containers", "--tail=15"),
    )
    said = []
    for command in commands:
        done = cluster.kubectl.process(*command)
        said.append(f"$ kubectl {' '.join(command)}\n{(done.stdout + done.stderr).strip()}")
    return "\n\n".join(said)


def next_steps(cluster: Cluster, *, count: int) -> str:
    """What to type, with this cluster's own names in it."""
    return NEXT.format(
        app=APP,
        count=count,
        emulator=EMULATOR,
        kubeconfig=cluster.kubeconfig,
        mailer=MAILER,
        secretless=SECRETLESS,
        programs=":".join(
            map(str, (Path(sys.executable).parent, *(c.program.parent for c in (cluster.kubectl, cluster.helm))))
        ),
    )
