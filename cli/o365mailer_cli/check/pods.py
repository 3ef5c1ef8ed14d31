"""Findings on annotated pods: whether each has its relay, and what its relay says of itself. Pure.

Pods of one workload with one fault are one finding: a person restarts the workload, not its pods.
"""

import dataclasses
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from o365mailer_cli.check.rights import unread
from o365mailer_cli.cluster import Manifest
from o365mailer_cli.errors import ClusterError
from o365mailer_cli.finding import Finding, Status
from o365mailer_cli.installation import Installation
from o365mailer_cli.mailers import Mailer, instant
from o365mailer_cli.missing_relay import why_not_injected
from o365mailer_cli.refusal import refusal
from o365mailer_cli.relays import Reading, Relay
from o365mailer_cli.wording import pods, span
from o365mailer_contract.names import CONTAINER, DOCS, INJECT_ANNOTATION, STATUS_ANNOTATION
from o365mailer_contract.replies import RULES

KUBELET_DELAY: Final = datetime.timedelta(minutes=3)
"""A changed Secret reaches a pod within about two minutes: the kubelet's sync period and its cache."""
QUEUE_OLD: Final = 3600.0
"""Seconds, as the alert says."""
RESTARTS_MATTER: Final = datetime.timedelta(hours=1)
INSTALLATION: Final = f"{DOCS}/troubleshooting.md#the-installation"
MAIL: Final = f"{DOCS}/troubleshooting.md#mail-that-is-refused-or-waits"
LOGIN: Final = f"{DOCS}/troubleshooting.md#the-login-at-exchange"
OUTDATED: Final = f"{DOCS}/troubleshooting.md#o365mailerpodsoutdated"
OLD_RELAY: Final = f"{DOCS}/troubleshooting.md#o365mailerrelayoutdated"
UNREACHABLE: Final = f"{DOCS}/troubleshooting.md#o365mailerexchangeunreachable"
FAILED_MAIL: Final = f"{DOCS}/troubleshooting.md#o365mailermailfailed"
OLD_MAIL: Final = f"{DOCS}/troubleshooting.md#o365mailerqueueold"
TOKEN_REFUSED: Final = "token-refused"
"""The relay's word for a login that Exchange refuses (`o365mailer_blocked`). Its causes are many."""
BLOCK_REMEDIES: Final[Mapping[str, str]] = {rule.reason: rule.remedy for rule in reversed(RULES) if rule.remedy}
"""What a relay is blocked by → what a person does, in the words of the app's own 451."""


@dataclass(frozen=True, kw_only=True)
class PodFacts:
    """What was read of the pods in a place."""

    annotated: Sequence[Manifest]
    """Metadata of the pods with the annotation that have not run to their end."""
    readings: Sequence[Reading]
    """The relays, with their metrics where these could be read."""
    mailers: Mapping[tuple[str, str], Mailer]
    """By namespace and name."""
    installation: Installation
    namespaces: Mapping[str, Mapping[str, str]]
    """Labels of the namespaces that could be read."""
    refusals: Sequence[Manifest]
    """Events of workloads whose pods were refused."""
    now: datetime.datetime


def pod_findings(facts: PodFacts) -> Iterator[Finding]:
    """What is to be said of the pods."""
    if not facts.annotated:
        title = f"no pod has the annotation {INJECT_ANNOTATION}"
        yield Finding(name="pods.relay", status=Status.OK, title=title)
    yield from _refused(facts)
    yield from _or_well(_without_relay(facts), "pods.relay", len(facts.annotated), "{has} a relay")
    yield from _without_mailer(facts)
    yield from _or_well(_not_running(facts), "pods.running", len(facts.readings), "{has} a relay that runs")
    yield from _unreadable(facts)
    known = sum(each.figures is not None for each in facts.readings)
    yield from _or_well(_told(facts), "pods.sending", known, "{has} the newest token and relay, and can send")


def _or_well(faults: Iterator[Finding], name: str, count: int, title: str) -> Iterator[Finding]:
    """The faults; if there are none, and there are pods, one finding that says so."""
    found = list(faults)
    yield from found
    if not found and count:
        words = title.format(has="has" if count == 1 else "have")
        yield Finding(name=name, status=Status.OK, title=f"{pods(count)} {words}")


def workload_of(pod: Manifest) -> str:
    """`deployment/web`, or the pod itself if no controller made it."""
    metadata = pod["metadata"]
    owner = next((each for each in metadata.get("ownerReferences") or () if each.get("controller")), None)
    if owner is None:
        return f"pod/{metadata['name']}"
    digest = (metadata.get("labels") or {}).get("pod-template-hash")
    if owner["kind"] == "ReplicaSet" and digest and owner["name"].endswith(f"-{digest}"):
        return f"deployment/{owner['name'].removesuffix(f'-{digest}')}"
    return f"{owner['kind'].lower()}/{owner['name']}"


@dataclass(frozen=True)
class _Fault:
    """What is wrong with pods of one workload; equal faults of one workload are one finding."""

    name: str
    status: Status
    title: str
    """Goes on after `3 pods`; `has` and `have`, `is` and `are` are chosen by `{has}`, `{is}`."""
    cause: str
    remedy: str
    link: str


Judged = Sequence[tuple[Manifest, _Fault | None]]


def _by_workload(judged: Judged) -> Iterator[Finding]:
    groups: dict[tuple[str, str, _Fault], list[str]] = {}
    for pod, fault in judged:
        if fault:
            key = (pod["metadata"]["namespace"], workload_of(pod), fault)
            groups.setdefault(key, []).append(pod["metadata"]["name"])
    for (namespace, workload, fault), named in sorted(groups.items(), key=lambda each: (each[0][0], each[0][1])):
        some = ", ".join(sorted(named)[:3]) + (" and others" if len(named) > 3 else "")
        one = len(named) == 1
        words = {"has": "has" if one else "have", "is": "is" if one else "are", "runs": "runs" if one else "run"}
        restart = workload if not workload.startswith(("pod/", "job/")) else ""
        yield Finding(
            name=fault.name,
            status=fault.status,
            title=f"{pods(len(named))} {fault.title.format(**words)}",
            subject=f"{namespace} {workload}",
            cause=f"{fault.cause} ({some})",
            remedy=fault.remedy.format(
                restart=f"kubectl rollout restart {restart} -n {namespace}"
                if restart
                else f"delete and create {workload} in namespace {namespace}"
            ),
            link=fault.link,
        )


def _refused(facts: PodFacts) -> Iterator[Finding]:
    for event in facts.refusals:
        about = event.get("involvedObject") or {}
        subject = f"{event['metadata']['namespace']} {str(about.get('kind', '')).lower()}/{about.get('name', '')}"
        yield dataclasses.replace(refusal(str(event.get("message", ""))), name="pods.refused", subject=subject)


def _without_relay(facts: PodFacts) -> Iterator[Finding]:
    yield from _by_workload([(pod, _why_without(pod, facts)) for pod in facts.annotated])


def _why_without(pod: Manifest, facts: PodFacts) -> _Fault | None:
    metadata = pod["metadata"]
    if STATUS_ANNOTATION in (metadata.get("annotations") or {}):
        return None
    labels = facts.namespaces.get(metadata["namespace"])
    why = why_not_injected(pod, installation=facts.installation, labels=labels, again="{restart}")
    return _Fault("pods.relay", Status.FAILED, "{has} the annotation and no relay", why.cause, why.remedy, INSTALLATION)


def _without_mailer(facts: PodFacts) -> Iterator[Finding]:
    def judge(relay: Relay) -> _Fault | None:
        if not relay.mailer or (relay.namespace, relay.mailer) in facts.mailers:
            return None
        near = sorted(name for namespace, name in facts.mailers if namespace == relay.namespace)
        here = f"it has {', '.join(near[:5])}" if near else "it has none"
        return _Fault(
            "pods.mailer",
            Status.FAILED,
            f"{{has}} the mailer {relay.mailer}, which does not exist",
            f"Namespace {relay.namespace} has no mailer of that name; {here}. A pod uses mailers of its own namespace "
            "alone.",
            "Create the mailer there, or correct the annotation.",
            f"{DOCS}/injection.md",
        )

    yield from _by_workload([(each.relay.pod, judge(each.relay)) for each in facts.readings])


def _not_running(facts: PodFacts) -> Iterator[Finding]:
    yield from _by_workload([(each.relay.pod, _container_fault(each.relay, facts.now)) for each in facts.readings])


def _container_fault(relay: Relay, now: datetime.datetime) -> _Fault | None:
    if relay.phase == "Terminating":
        return None
    told = _container_status(relay)
    state, last = told.get("state") or {}, (told.get("lastState") or {}).get("terminated") or {}
    waiting = state.get("waiting") or {}
    logs = f"kubectl logs {relay.name} -c {CONTAINER} -n {relay.namespace}"
    if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
        why = f"{waiting['reason']}. {last.get('message') or waiting.get('message') or ''}".strip()
        return _Fault(
            "pods.running",
            Status.FAILED,
            "{has} a relay that does not start",
            why,
            f"Look at {logs} --previous.",
            INSTALLATION,
        )
    ended = instant(last.get("finishedAt"))
    if ended and now - ended < RESTARTS_MATTER:
        return _Fault(
            "pods.restarts",
            Status.WARNING,
            "{has} a relay that was restarted within the last hour",
            f"It ended with status {last.get('exitCode')}. {_one_line(last.get('message'))}".strip(),
            f"Look at {logs} --previous.",
            INSTALLATION,
        )
    return None


def _container_status(relay: Relay) -> dict[str, Any]:
    status = relay.pod.get("status", {})
    every = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return next((each for each in every if each["name"] == CONTAINER), {})


def _told(facts: PodFacts) -> Iterator[Finding]:
    """What the relays' metrics tell."""
    judges: tuple[Callable[[Reading, PodFacts], _Fault | None], ...] = (_token, _relay_version, _block, _queue)
    for judge in judges:
        yield from _by_workload([(each.relay.pod, judge(each, facts)) for each in facts.readings])


def _unreadable(facts: PodFacts) -> Iterator[Finding]:
    forbidden: dict[str, ClusterError] = {}
    others: list[Reading] = []
    for each in facts.readings:
        if each.forbidden and each.problem:
            forbidden.setdefault(each.relay.namespace, each.problem)
        elif each.problem:
            others.append(each)
    for namespace, error in sorted(forbidden.items()):
        yield unread("pods.metrics", "the relays' metrics", error, namespace=namespace)
    if others:
        yield Finding(
            name="pods.metrics",
            status=Status.UNKNOWN,
            title=f"the metrics of {pods(len(others))} could not be read",
            cause=f"{others[0].relay}: {others[0].problem}",
            remedy="The API server reaches pods on their health port, 9025 unless annotated: look for a NetworkPolicy.",
            link=f"{DOCS}/sidecar.md",
        )


def _token(each: Reading, facts: PodFacts) -> _Fault | None:
    """Whether the relay uses the newest mailer directory, after the time that a kubelet may take."""
    mailer, figures = facts.mailers.get((each.relay.namespace, each.relay.mailer)), each.figures
    if mailer is None or figures is None or mailer.ready.status != "True":
        return None
    issued = mailer.last_refresh
    if figures.revision >= mailer.revision or (issued is not None and facts.now - issued < KUBELET_DELAY):
        return None
    ended = 0 < figures.token_expires < facts.now.timestamp() or not figures.ready
    return _Fault(
        "pods.token",
        Status.FAILED if ended else Status.WARNING,
        f"{{has}} revision {figures.revision} of the mailer, and {mailer.revision} is the newest",
        "The kubelet has not mounted the changed Secret, for which it takes up to two minutes."
        + (" The token that it has is not valid any more." if ended else ""),
        "Look at the kubelet of the pod's node (kubectl describe node). A new pod gets the newest token: {restart}.",
        OUTDATED,
    )


def _relay_version(each: Reading, facts: PodFacts) -> _Fault | None:
    image = facts.installation.sidecar_image
    if not image or each.relay.image == image:
        return None
    return _Fault(
        "pods.version",
        Status.WARNING,
        "{runs} an older relay",
        f"The relay's image is {each.relay.image}, and the webhook injects {image} now.",
        "Restart it when you like: {restart}.",
        OLD_RELAY,
    )


def _block(each: Reading, facts: PodFacts) -> _Fault | None:
    figures = each.figures
    if figures is None:
        return None
    if figures.blocked:
        reasons = ", ".join(figures.blocked)
        if TOKEN_REFUSED in figures.blocked:
            return _Fault(
                "pods.blocked",
                Status.FAILED,
                f"{{has}} a relay that sends nothing ({reasons})",
                "Exchange refuses the login with the mailer's token.",
                f"Try the login, which names the cause: o365mailer check {each.relay.mailer} -n {each.relay.namespace}",
                LOGIN,
            )
        remedy = next((BLOCK_REMEDIES[reason] for reason in figures.blocked if reason in BLOCK_REMEDIES), "")
        return _Fault(
            "pods.blocked",
            Status.FAILED,
            f"{{has}} a relay that sends nothing ({reasons})",
            "Office 365 has refused it.",
            f"{remedy[:1].upper()}{remedy[1:]}." if remedy else "Look the reason up on the page.",
            MAIL,
        )
    if not figures.upstream_up:
        return _Fault(
            "pods.upstream",
            Status.FAILED,
            "{has} a relay that does not reach Office 365",
            "Its last connection failed: the name, the network, TLS or the greeting.",
            "Let pods reach the submission host on its port (587): egress rules, NetworkPolicies. The relay's log says "
            "how the connection failed.",
            UNREACHABLE,
        )
    mailer = facts.mailers.get((each.relay.namespace, each.relay.mailer))
    if not figures.ready and mailer is not None and mailer.ready.status == "True":
        return _Fault(
            "pods.ready",
            Status.FAILED if not figures.revision else Status.WARNING,
            "{has} a relay without a mailer or a valid token",
            "The kubelet has not mounted the token Secret, although the mailer is Ready.",
            "Look at the kubelet of the pod's node (kubectl describe pod).",
            INSTALLATION,
        )
    return None


def _queue(each: Reading, _facts: PodFacts) -> _Fault | None:
    figures = each.figures
    if figures is None:
        return None
    spool = f"kubectl exec POD -n {each.relay.namespace} -c {CONTAINER} -- o365mailer-sidecar spool ls"
    if figures.dead or figures.damaged:
        return _Fault(
            "pods.failed-mail",
            Status.WARNING,
            "{has} mail in the spool that failed for good",
            "Exchange refused it, or it waited too long. Its app got a 250.",
            f"Look at it: {spool}.",
            FAILED_MAIL,
        )
    if figures.oldest > QUEUE_OLD:
        return _Fault(
            "pods.queue",
            Status.WARNING,
            "{has} mail that waits for more than " + span(QUEUE_OLD),
            "Something stops all mail of the relay, or Exchange defers this message.",
            f"Look at it: {spool}.",
            OLD_MAIL,
        )
    return None


def _one_line(text: Any) -> str:
    return " ".join(str(text or "").split())[:300]
