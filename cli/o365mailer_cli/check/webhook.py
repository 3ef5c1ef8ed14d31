"""Findings on the webhook: its configuration, its certificates, and whether it injects a pod now. Pure.

The Secret with the authority's private key is never read. What the webhook's and the controller's metrics say of their
certificates is compared with the `caBundle`, and a pod that is created as a dry run proves the whole way.
"""

import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from o365mailer_cli.check.deployment import LINK
from o365mailer_cli.check.rights import EDIT, unread
from o365mailer_cli.cluster import Manifest
from o365mailer_cli.errors import ClusterError, Forbidden
from o365mailer_cli.finding import Finding, Status
from o365mailer_cli.installation import pods_entry
from o365mailer_cli.wording import span, until
from o365mailer_contract.names import CONTAINER, DOCS, INJECT_ANNOTATION, PODS_WEBHOOK, WEBHOOK_NAME
from o365mailer_operator.pki.authority import LIFETIME, trusted_by

LEAF_LEFT: Final = datetime.timedelta(hours=2)
"""A leaf lives a day and is renewed with eight hours left."""
AUTHORITY_LEFT: Final = LIFETIME / 6
"""An authority is renewed when a third of its life is left."""
AWAY: Final = f"{DOCS}/troubleshooting.md#o365mailerwebhookaway"
CERTIFICATE: Final = f"{DOCS}/troubleshooting.md#o365mailerwebhookcertificateexpires"
CALL_FAILED: Final = f'failed calling webhook "{PODS_WEBHOOK}"'
ANSWERED: Final = f'admission webhook "{PODS_WEBHOOK}" denied the request'

PROBE: Final[Manifest] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "o365mailer-check-", "annotations": {INJECT_ANNOTATION: "check"}},
    "spec": {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "app",
                "image": "o365mailer-check",
                "resources": {
                    "requests": {"cpu": "10m", "memory": "16Mi"},
                    "limits": {"cpu": "100m", "memory": "64Mi"},
                },
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    },
}
"""The pod of the dry run. It meets Pod Security's `restricted`, and is never stored."""


@dataclass(frozen=True)
class Certificates:
    """What the metrics say of the webhook's certificates, in seconds since the epoch."""

    authority: float | None = None
    """The end of the authority that signs, as the controller that leads has it."""
    leaves: Sequence[float] = ()
    """The end of each replica's certificate."""


@dataclass(frozen=True)
class DryRun:
    """What became of the pod that was created as a dry run in a namespace."""

    namespace: str
    answer: Manifest | ClusterError


def configuration_findings(
    configuration: Manifest | ClusterError | None, certificates: Certificates, now: datetime.datetime
) -> Iterator[Finding]:
    """Whether the API server calls the webhook, what happens when it is away, and which authorities it trusts."""
    name = "webhook.configuration"
    if isinstance(configuration, ClusterError):
        yield unread(name, f"the MutatingWebhookConfiguration {WEBHOOK_NAME}", configuration)
        return
    entry = pods_entry(configuration)
    if configuration is None or not entry:
        yield Finding(
            name=name,
            status=Status.FAILED,
            title="the API server does not call the webhook",
            cause=f"There is no MutatingWebhookConfiguration {WEBHOOK_NAME} with an entry {PODS_WEBHOOK}. Annotated "
            "pods start without a relay.",
            remedy="Install the chart again: helm upgrade --install. Then restart the workloads that were made "
            "meanwhile: kubectl rollout restart.",
            link=f"{DOCS}/install.md",
        )
        return
    yield Finding(name=name, status=Status.OK, title="the API server calls the webhook for annotated pods")
    if entry.get("failurePolicy") == "Ignore":
        yield Finding(
            name="webhook.failure-policy",
            status=Status.WARNING,
            title="failurePolicy is Ignore",
            cause="While the webhook is away, annotated pods start without a relay, and their mail fails.",
            remedy="Set the chart's webhook.failurePolicy to Fail. Only pods with the annotation wait for the webhook.",
            link=AWAY,
        )
    else:
        yield Finding(name="webhook.failure-policy", status=Status.OK, title="no annotated pod starts without a relay")
    yield _authority(configuration, certificates, now)
    yield from _leaves(certificates, now)


def _authority(configuration: Manifest, certificates: Certificates, now: datetime.datetime) -> Finding:
    name, trusted = "webhook.authority", trusted_by(configuration)
    ends = [each.not_valid_after_utc for each in trusted]
    renewed = "The controller writes it within seconds: look at the controller above, and at its log."
    if not trusted:
        return Finding(
            name=name,
            status=Status.FAILED,
            title="the API server trusts no authority of the webhook's",
            cause="The configuration's caBundle is empty or unreadable.",
            remedy=f"{renewed} Does another tool write caBundle?",
            link=CERTIFICATE,
        )
    if max(ends) <= now:
        return Finding(
            name=name,
            status=Status.FAILED,
            title=f"the webhook's authority expired {until(max(ends), now)}",
            cause="The controller renews it when a third of its year is left, and has not done so.",
            remedy=renewed,
            link=CERTIFICATE,
        )
    if certificates.authority and certificates.authority not in [end.timestamp() for end in ends]:
        return Finding(
            name=name,
            status=Status.FAILED,
            title="the API server does not trust the authority that signs the webhook's certificates",
            cause="The configuration's caBundle holds others. Another tool, or a restored backup, has written it.",
            remedy=f"{renewed} Take caBundle out of what the other tool applies.",
            link=CERTIFICATE,
        )
    if max(ends) - now < AUTHORITY_LEFT:
        return Finding(
            name=name,
            status=Status.WARNING,
            title=f"the webhook's authority expires {until(max(ends), now)}",
            cause="The controller was to renew it when a third of its year was left.",
            remedy=renewed,
            link=CERTIFICATE,
        )
    return Finding(name=name, status=Status.OK, title=f"the webhook's authority is trusted ({_left(max(ends), now)})")


def _leaves(certificates: Certificates, now: datetime.datetime) -> Iterator[Finding]:
    if not certificates.leaves:
        return
    name = "webhook.certificate"
    first = datetime.datetime.fromtimestamp(min(certificates.leaves), datetime.UTC)
    problem = {
        "cause": "A replica renews its certificate after two thirds of its day. It cannot read the authority's Secret, "
        "or the authority has expired.",
        "remedy": "kubectl rollout restart deployment/o365mailer-webhook, in its namespace. Its log says why no leaf "
        "can be signed.",
        "link": CERTIFICATE,
    }
    if first <= now:
        title = f"a replica's certificate expired {until(first, now)}"
        yield Finding(name=name, status=Status.FAILED, title=title, **problem)
    elif first - now < LEAF_LEFT:
        title = f"a replica's certificate expires {until(first, now)}"
        yield Finding(name=name, status=Status.WARNING, title=title, **problem)
    else:
        yield Finding(name=name, status=Status.OK, title=f"its certificates are valid ({_left(first, now)})")


def endpoints(slices: Sequence[Manifest] | ClusterError, entry: Manifest, *, namespace: str) -> Iterator[Finding]:
    """Whether the Service has ready endpoints."""
    name = "webhook.endpoints"
    if not (entry.get("clientConfig") or {}).get("service"):
        return  # it is called by URL
    if isinstance(slices, ClusterError):
        yield unread(name, "the webhook's EndpointSlices", slices, namespace=namespace)
        return
    every = [endpoint for each in slices for endpoint in each.get("endpoints") or ()]
    ready = sum((each.get("conditions") or {}).get("ready", True) for each in every)
    if not ready:
        yield Finding(
            name=name,
            status=Status.FAILED,
            title="the webhook's Service has no ready endpoint",
            subject=f"{namespace}/o365mailer-webhook",
            cause=f"{len(every)} of its pods are there, and none is ready."
            if every
            else "No pod of the webhook runs, or the Service does not select it.",
            remedy=f"kubectl get pods -n {namespace} -l app.kubernetes.io/component=webhook",
            link=LINK,
        )
    else:
        yield Finding(name=name, status=Status.OK, title=f"the webhook's Service has {ready} ready")


def admission(run: DryRun | None, policy: str) -> Iterator[Finding]:
    """What the dry run proves. `policy`: the configuration's failurePolicy."""
    if run is None:
        return
    name, subject = "webhook.admission", ""
    if not isinstance(run.answer, ClusterError):
        if any(each["name"] == CONTAINER for each in run.answer["spec"].get("initContainers") or ()):
            yield Finding(
                name=name, status=Status.OK, title=f"an annotated pod gets its relay (dry run in {run.namespace})"
            )
            return
        ignored = policy == "Ignore"
        yield Finding(
            name=name,
            status=Status.FAILED,
            title="an annotated pod gets no relay",
            subject=run.namespace,
            cause="The webhook is away, and failurePolicy is Ignore."
            if ignored
            else "The API server did not call the webhook. It learns of a new configuration within seconds.",
            remedy="Look at the webhook above. Then restart the workloads that were made meanwhile: kubectl rollout "
            "restart."
            if ignored
            else "Try again. If it stays so, compare the configuration with the chart's: helm upgrade.",
            link=AWAY,
        )
        return
    text = str(run.answer)
    if ANSWERED in text:
        yield Finding(
            name=name,
            status=Status.FAILED,
            title="the webhook refuses a plain pod",
            subject=run.namespace,
            cause=text,
            remedy="Correct what it names. If it names nothing of yours, please report it.",
            link=f"{DOCS}/injection.md#when-a-pod-is-refused",
        )
    elif CALL_FAILED in text:
        yield _call_failed(name, text)
    elif isinstance(run.answer, Forbidden) and " cannot create resource " in text:
        unknown = unread(name, "whether a pod would be injected", run.answer, namespace=run.namespace, role=EDIT)
        yield unknown
    else:
        yield Finding(
            name=name,
            status=Status.UNKNOWN,
            title="whether a pod would be injected is unknown",
            subject=subject or run.namespace,
            cause=text,
            remedy="Another policy of the cluster refuses the pod of the dry run. Name another namespace with -n.",
            link=AWAY,
        )


@dataclass(frozen=True)
class _Failure:
    """A way in which the API server's call fails: a pattern of its text, and what it means."""

    pattern: str
    title: str
    cause: str
    remedy: str


_LOOK: Final = "Look at the webhook's Deployment and endpoints above."
_FAILURES: Final = (
    _Failure(
        "certificate has expired|is not yet valid",
        "the webhook's certificate has expired",
        "The webhook shows a certificate that is not valid now. A replica renews it after two thirds of its day.",
        "kubectl rollout restart deployment/o365mailer-webhook, in its namespace. Does the controller run, and are the "
        "nodes' clocks right?",
    ),
    _Failure(
        "signed by unknown authority|certificate specifies an incompatible key usage|bad certificate",
        "the API server does not trust the webhook's certificate",
        "The configuration's caBundle does not hold the authority that signed it.",
        "The controller writes caBundle within seconds: does it run, and may it patch the configuration? Take caBundle "
        "out of what another tool applies.",
    ),
    _Failure(
        "certificate is valid for|not valid for any names",
        "the webhook's certificate is for another name",
        "Something else answers at the webhook's address, such as another Service.",
        "Compare the configuration's clientConfig with the Service o365mailer-webhook.",
    ),
    _Failure(
        'service "[^"]*" not found|no endpoints available|connection refused|no route to host|no such host|EOF|reset',
        "the webhook is away",
        "No replica answers the API server. Annotated pods are refused until one does, and start then by themselves.",
        _LOOK,
    ),
    _Failure(
        "deadline exceeded|timeout|Timeout",
        "the webhook does not answer in time",
        "The API server's packets do not reach the webhook, or it is overloaded. In a private cluster, the control "
        "plane may reach nodes on ports 443 and 10250 alone.",
        f"{_LOOK} If they are well, look for a NetworkPolicy or a firewall before port 10250 of the webhook's pods.",
    ),
)


def _call_failed(name: str, text: str) -> Finding:
    for failure in _FAILURES:
        if re.search(failure.pattern, re.sub(r"https://\S+", "", text)):  # the URL has a parameter `timeout`
            return Finding(
                name=name,
                status=Status.FAILED,
                title=failure.title,
                cause=f"{failure.cause}\nThe API server: {_said(text)}",
                remedy=failure.remedy,
                link=AWAY,
            )
    return Finding(
        name=name,
        status=Status.FAILED,
        title="the API server cannot ask the webhook",
        cause=_said(text),
        remedy=_LOOK,
        link=AWAY,
    )


def _said(text: str) -> str:
    return text[text.index(CALL_FAILED) :]


def _left(moment: datetime.datetime, now: datetime.datetime) -> str:
    return f"{span((moment - now).total_seconds())} left"
