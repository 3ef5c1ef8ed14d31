"""The explanation: what is annotated, what the webhook did, what was refused, and the mailer that the pods use.

It reads through Cluster. `missing_relay` concludes why a pod has no relay, and `refusal` why a pod was not created.
"""

import dataclasses
import datetime
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from o365mailer_cli.cluster import NAMESPACES, Cluster, Manifest
from o365mailer_cli.credential_end import credential_ending
from o365mailer_cli.errors import Absent, ClusterError
from o365mailer_cli.explain.target import Target
from o365mailer_cli.finding import Finding, Group, Status
from o365mailer_cli.installation import Installation, read_installation
from o365mailer_cli.mailers import AUTHENTICATED, Mailer, read_mailers, reason_link
from o365mailer_cli.missing_relay import misplaced, why_not_injected
from o365mailer_cli.refusal import INJECTION_PAGE, INSTALLATION_PAGE, REFUSAL_PAGE, refusal
from o365mailer_cli.relays import Relay, listed, status_of
from o365mailer_cli.wording import until
from o365mailer_contract.names import DOCS, INJECT_ANNOTATION, KIND

SHOWN: Final = 5
"""Pods that are shown one by one."""


@dataclass(frozen=True)
class Surroundings:
    """What the explanation needs to know of the cluster."""

    installation: Installation
    namespace_labels: Mapping[str, str] | None
    """None: the namespace may not be read."""
    mailers: Mapping[str, Mailer] | None
    """The namespace's; None: they may not be read."""


def explain(cluster: Cluster, target: Target) -> list[Group]:
    """Groups of findings about the target. Raises ClusterError."""
    context = _read(cluster, target.namespace)
    groups = [Group(str(target), list(_annotation(target)))]
    if target.refusals:
        groups.append(Group("Refused pods", [refusal(each) for each in target.refusals]))
    pods = [each for each in target.pods if target.is_pod or not Relay(each).finished or target.kind == "job"]
    if pods:
        groups.append(Group("Pods", list(_pods(target, pods, context))))
    elif not target.refusals:
        groups.append(Group("Pods", [Finding(name="pod.none", status=Status.OK, title="it has no pods now")]))
    mailer = target.template_annotations.get(INJECT_ANNOTATION) or target.annotations.get(INJECT_ANNOTATION)
    if mailer:
        groups.append(Group("Mailer", [*_mailer(mailer, target.namespace, context), *_ending(mailer, context)]))
        groups.append(Group("Webhook", list(_webhook(context))))
    return groups


def _read(cluster: Cluster, namespace: str) -> Surroundings:
    labels: Mapping[str, str] | None = None
    mailers: dict[str, Mailer] | None = None
    try:
        found = cluster.find(NAMESPACES, name=namespace)
        labels = (found or {}).get("metadata", {}).get("labels") or {}
    except ClusterError:
        pass
    try:
        mailers = {each.name: each for each in read_mailers(cluster, namespace=namespace)}
    except Absent:
        mailers = {}
    except ClusterError:
        pass
    return Surroundings(read_installation(cluster), labels, mailers)


def _annotation(target: Target) -> Iterator[Finding]:
    """Whether it asks for a relay, and where."""
    own, inner = target.annotations.get(INJECT_ANNOTATION), target.template_annotations.get(INJECT_ANNOTATION)
    near = misplaced(target.manifest) or misplaced(target.template)
    if near:
        yield Finding(
            name="annotation.misplaced",
            status=Status.FAILED,
            title="an annotation has no effect",
            cause=near.cause,
            remedy=near.remedy,
            link=f"{INJECTION_PAGE}#annotations-of-the-pod-template",
        )
    if own is None and inner is None:
        if not near:
            yield Finding(
                name="annotation",
                status=Status.WARNING,
                title="it does not ask for a relay",
                cause=f"Neither it nor its pod template has the annotation {INJECT_ANNOTATION}.",
                remedy=f"kubectl annotate {target} -n {target.namespace} {INJECT_ANNOTATION}=MAILER",
                link=INJECTION_PAGE,
            )
        return
    if target.is_pod or inner == own or own is None:
        where = "" if target.is_pod else " in its pod template"
        yield Finding(name="annotation", status=Status.OK, title=f"it asks for a relay of the mailer {inner}{where}")
    elif inner is None:
        yield Finding(
            name="annotation",
            status=Status.FAILED,
            title=f"it asks for a relay of the mailer {own}, but its pod template does not",
            cause="The webhook copies the annotation into the pod template. It was not asked when you annotated the "
            "object: it was not installed yet, or it did not answer.",
            remedy=f"kubectl annotate {target} -n {target.namespace} --overwrite "
            f"{INJECT_ANNOTATION}={shlex.quote(own)}",
            link=f"{INJECTION_PAGE}#on-a-workload-or-on-its-template",
        )
    else:
        yield Finding(
            name="annotation",
            status=Status.FAILED,
            title=f"it names two mailers: {own} on itself, {inner} in {target.template_path}",
            cause="Its pods use the one of the pod template.",
            remedy="Say it in one place, and remove the other.",
            link=REFUSAL_PAGE,
        )


def _pods(target: Target, pods: list[Manifest], context: Surroundings) -> Iterator[Finding]:
    """What the webhook did to each pod, and how its relay is."""
    for pod in pods[:SHOWN]:
        yield from _pod(target, pod, context)
    rest = pods[SHOWN:]
    if rest:
        with_relay = sum(Relay(each).container is not None and bool(status_of(each)) for each in rest)
        yield Finding(
            name="pod.others",
            status=Status.OK if with_relay == len(rest) else Status.WARNING,
            title=f"{with_relay} of {len(rest)} older pods have a relay",
            cause="" if with_relay == len(rest) else "They are not shown one by one.",
            remedy="" if with_relay == len(rest) else f"Get new pods: {target.restart}.",
            link=INJECTION_PAGE,
        )


def _pod(target: Target, pod: Manifest, context: Surroundings) -> Iterator[Finding]:
    relay, done = Relay(pod), status_of(pod)
    subject = f"pod/{relay.name}"
    wanted = (pod["metadata"].get("annotations") or {}).get(INJECT_ANNOTATION)
    if relay.container is not None and done:
        yield _injected(relay, done, subject)
        yield from _notes(done, subject)
        yield from _relay_state(relay, subject)
        image = context.installation.sidecar_image
        if image and relay.image != image:
            yield Finding(
                name="pod.relay-version",
                status=Status.WARNING,
                title=f"its relay is {relay.image}; new pods get {image}",
                subject=subject,
                cause="The pod is older than the last upgrade.",
                remedy=f"When you like: {target.restart}.",
                link=INJECTION_PAGE,
            )
    elif wanted is not None:
        why = why_not_injected(
            pod, installation=context.installation, labels=context.namespace_labels, again=target.restart
        )
        yield Finding(
            name="pod.injected",
            status=Status.FAILED,
            title=f"it asks for a relay of the mailer {wanted} and has none",
            subject=subject,
            cause=f"{why.cause} {why.detail}".strip(),
            remedy=why.remedy,
            link=INSTALLATION_PAGE,
        )
    elif not target.is_pod and INJECT_ANNOTATION in target.template_annotations:
        yield Finding(
            name="pod.injected",
            status=Status.FAILED,
            title="it is older than the annotation and has no relay",
            subject=subject,
            cause="A pod gets its relay when it is created, and never later.",
            remedy=f"Get new pods: {target.restart}.",
            link=f"{INJECTION_PAGE}#on-a-workload-or-on-its-template",
        )
    elif not target.is_pod:
        yield Finding(name="pod.injected", status=Status.OK, title="it asks for no relay", subject=subject)


def _injected(relay: Relay, done: Mapping[str, Any], subject: str) -> Finding:
    ports = ", ".join(str(port) for port in listed(done.get("ports")))
    spool = done.get("spool")
    kept = f", spool {spool if isinstance(spool, str) else 'as annotated'}" if spool else ", no spool"
    return Finding(
        name="pod.injected",
        status=Status.OK,
        title=f"it has a relay of the mailer {done.get('mailer', relay.mailer)}: mail to 127.0.0.1, port {ports}; "
        f"health on {relay.health_port}{kept}",
        subject=subject,
    )


def _notes(done: Mapping[str, Any], subject: str) -> Iterator[Finding]:
    """What the webhook noted when it injected the pod: the warnings that kubectl showed."""
    for note in listed(done.get("notes")):
        yield Finding(
            name="pod.note",
            status=Status.WARNING,
            title="the webhook noted something",
            subject=subject,
            cause=str(note),
            link=INJECTION_PAGE,
        )


def _relay_state(relay: Relay, subject: str) -> Iterator[Finding]:
    """Why the relay's container does not run, as its kubelet says."""
    status = relay.pod.get("status", {})
    every = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    state: Manifest = next((each for each in every if each["name"] == (relay.container or {}).get("name")), {})
    waiting = state.get("state", {}).get("waiting") or {}
    ended = state.get("lastState", {}).get("terminated") or {}
    if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
        last = f" It last ended with status {ended['exitCode']}: {ended.get('message', '')}" if ended else ""
        yield Finding(
            name="pod.relay-state",
            status=Status.FAILED,
            title=f"its relay does not run: {waiting['reason']}",
            subject=subject,
            cause=f"{waiting.get('message', waiting['reason'])}{last}".strip(),
            remedy=f"kubectl logs {relay.name} -n {relay.namespace} -c o365mailer --previous",
            link=INSTALLATION_PAGE,
        )
    elif relay.phase == "Pending" and not relay.running:
        scheduled = [
            each
            for each in status.get("conditions") or ()
            if each["type"] == "PodScheduled" and each["status"] == "False"
        ]
        yield Finding(
            name="pod.relay-state",
            status=Status.WARNING,
            title="it has not started yet",
            subject=subject,
            cause=str(scheduled[0].get("message", "")) if scheduled else "Its node prepares it.",
            remedy=f"kubectl describe pod {relay.name} -n {relay.namespace}",
            link=INSTALLATION_PAGE,
        )


def _mailer(name: str, namespace: str, context: Surroundings) -> Iterator[Finding]:
    """Whether the mailer is there, and has a token."""
    if context.mailers is None:
        yield Finding(
            name="mailer",
            status=Status.UNKNOWN,
            title=f"you may not read the mailers of namespace {namespace}",
            link=f"{DOCS}/command.md#rights",
        )
        return
    mailer = context.mailers.get(name)
    if mailer is None:
        others = f"it has {', '.join(sorted(context.mailers))}" if context.mailers else "it has none"
        yield Finding(
            name="mailer",
            status=Status.FAILED,
            title=f"there is no mailer {name} in namespace {namespace}",
            cause=f"A pod uses a mailer of its own namespace; {others}. Until there is one, the relay answers 451.",
            remedy=f"Create an {KIND} {name}, or correct the annotation.",
            link=f"{DOCS}/mailer.md",
        )
        return
    ready = mailer.ready
    if mailer.outdated(now := datetime.datetime.now(datetime.UTC)):
        yield Finding(
            name="mailer",
            status=Status.FAILED,
            title=f"the token of {mailer} ended {until(mailer.token_expiry, now)}",
            cause="Its condition Ready is from before that. No controller has looked at it since.",
            remedy="Look at the Deployment o365mailer-controller and at its log.",
            link=f"{DOCS}/troubleshooting.md#o365mailercontrolleraway",
        )
        return
    if ready.status == "True":
        yield Finding(name="mailer", status=Status.OK, title=f"{mailer} is ready: it mails as {mailer.mailbox}")
        login = mailer.condition(AUTHENTICATED)
        if login.status == "False":
            title, _, causes = login.message.partition("\n")
            yield Finding(
                name="mailer.login",
                status=Status.WARNING,
                title=title,
                cause=causes,
                remedy="The cause says what to do.",
                link=reason_link(login.reason),
            )
        return
    yield Finding(
        name="mailer",
        status=Status.FAILED,
        title=f"{mailer} is not ready{f' ({ready.reason})' if ready.reason else ''}",
        cause=ready.message or "No controller has looked at it.",
        remedy="The cause says what to do." if ready.message else "Look at the Deployment o365mailer-controller.",
        link=reason_link(ready.reason) if ready.reason else f"{DOCS}/troubleshooting.md",
    )


def _ending(name: str, context: Surroundings) -> Iterator[Finding]:
    """Whether the mailer's credential ends soon or has ended. Only a warning: Ready tells whether Entra refuses it."""
    mailer = (context.mailers or {}).get(name)
    if mailer is not None:
        for finding in credential_ending(mailer, now=datetime.datetime.now(datetime.UTC)):
            yield dataclasses.replace(finding, status=Status.WARNING)


def _webhook(context: Surroundings) -> Iterator[Finding]:
    """Whether new pods would get a relay."""
    installation = context.installation
    if installation.configuration is None:
        yield Finding(
            name="webhook",
            status=Status.UNKNOWN,
            title="there is no webhook configuration admission.o365mailer.dev, or you may not read it",
            link=f"{DOCS}/command.md#rights",
        )
        return
    policy = installation.pods_webhook.get("failurePolicy", "Fail")
    then = "held back" if policy == "Fail" else "started without a relay"
    if not installation.pods_webhook.get("clientConfig", {}).get("caBundle"):
        yield Finding(
            name="webhook",
            status=Status.FAILED,
            title="the API server cannot trust the webhook",
            cause="The configuration has no caBundle: the controller writes it, and has not.",
            remedy="Look at the Deployment o365mailer-controller and at its log.",
            link=INSTALLATION_PAGE,
        )
    ready = (installation.deployment or {}).get("status", {}).get("readyReplicas")
    if installation.deployment is None:
        title = f"new pods are injected; while the webhook is away, annotated ones are {then}"
        yield Finding(name="webhook", status=Status.OK, title=title)
    elif ready:
        title = f"{ready} replica{'' if ready == 1 else 's'} ready; while none is, annotated pods are {then}"
        yield Finding(name="webhook", status=Status.OK, title=title)
    else:
        yield Finding(
            name="webhook",
            status=Status.FAILED,
            title=f"no replica of the webhook is ready, so annotated pods are {then}",
            cause=f"The Deployment o365mailer-webhook in namespace {installation.namespace} has no ready pod.",
            remedy=f"kubectl get pods -n {installation.namespace}",
            link=INSTALLATION_PAGE,
        )
