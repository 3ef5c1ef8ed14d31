"""Reads the installation, the mailers and the pods as the user may, many requests at once, and has them judged.

What a missing right hides is a ClusterError in place of the object, and becomes an unknown finding.
"""

import datetime
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from o365mailer_cli.check.asked import Asked
from o365mailer_cli.check.controller import LEASE, leading, rights
from o365mailer_cli.check.deployment import COMPONENT, available, same_version
from o365mailer_cli.check.mailer import mailer_findings
from o365mailer_cli.check.pods import PodFacts, pod_findings
from o365mailer_cli.check.rights import unread
from o365mailer_cli.check.schema import schema_finding
from o365mailer_cli.check.server import server_findings
from o365mailer_cli.check.webhook import (
    PROBE,
    Certificates,
    DryRun,
    admission,
    configuration_findings,
    endpoints,
)
from o365mailer_cli.cluster import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    OTHERS_ACCESS,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    WEBHOOKS,
    Cluster,
    Manifest,
)
from o365mailer_cli.concurrently import together
from o365mailer_cli.errors import Absent, ClusterError
from o365mailer_cli.finding import Finding, Group, Status
from o365mailer_cli.installation import Installation, pods_entry, unmet
from o365mailer_cli.mailers import Mailer, instant, read_mailers
from o365mailer_cli.relays import Relay, read_figures, read_relays, samples
from o365mailer_contract.names import (
    GROUP,
    HEALTH_PORT,
    INJECT_ANNOTATION,
    METRICS,
    PLURAL,
    WEBHOOK_NAME,
)
from o365mailer_operator.token.schema import OPENAPI

SERVICE: Final = "o365mailer-webhook"
USUAL_NAMESPACE: Final = "o365mailer-system"
OURS: Final = "app.kubernetes.io/name=o365mailer"
CONTROLLER: Final = f"{OURS},{COMPONENT}=controller"
UNFINISHED: Final = "status.phase!=Succeeded,status.phase!=Failed"
REFUSED_RECENTLY: Final = datetime.timedelta(minutes=15)
"""A ReplicaSet tries again after up to this time."""
OWN_SECONDS: Final = 3.0
"""For the metrics of one pod of the installation."""
NAMESPACES_ASKED: Final = 20
"""For how many of the mailers' namespaces the controller's rights are asked."""


def cluster_groups(asked: Asked) -> list[Group]:
    """The findings on the cluster, the installation, the mailers and their pods.

    Raises ClusterError if the API server does not answer, or the mailer that was asked for does not exist.
    """
    return look(asked).groups


def look(asked: Asked) -> "Look":
    """The same, with what was read for it."""
    version = asked.cluster.version()
    place = read_place(asked)
    if asked.mailer and isinstance(place.mailers, ClusterError):
        raise place.mailers
    operator = read_operator(asked, place)
    return Look(version, place, operator, judge(asked, version, place, operator))


@dataclass(frozen=True, kw_only=True)
class Place:
    """What was read of the place that the user asked for, and of the cluster as a whole."""

    nodes: Sequence[Manifest] | ClusterError
    schema: Manifest | ClusterError
    configuration: Manifest | ClusterError | None
    controllers: Sequence[Manifest] | ClusterError
    mailers: Sequence[Mailer] | ClusterError
    relays: Sequence[Relay] | ClusterError
    pods: Sequence[Manifest] | ClusterError
    namespaces: Sequence[Manifest] | ClusterError
    events: Sequence[Manifest] | ClusterError


def read_place(asked: Asked) -> Place:
    """Everything that depends on nothing else, at once."""
    cluster, namespace = asked.cluster, asked.namespace
    calls: dict[str, Callable[[], Any]] = {
        "nodes": functools.partial(cluster.list_all, NODES),
        "schema": lambda: json.loads(cluster.text(OPENAPI)),
        "configuration": functools.partial(cluster.find, WEBHOOKS, name=WEBHOOK_NAME),
        "controllers": functools.partial(cluster.list_all, DEPLOYMENTS, labels=CONTROLLER),
        "mailers": functools.partial(read_mailers, cluster, namespace=namespace, name=asked.mailer),
        "relays": functools.partial(read_relays, cluster, namespace=namespace),
        "pods": functools.partial(cluster.list_all, PODS, namespace=namespace, fields=UNFINISHED, metadata_only=True),
        "namespaces": functools.partial(_namespaces, cluster, namespace),
        "events": functools.partial(cluster.list_all, EVENTS, namespace=namespace, fields="reason=FailedCreate"),
    }
    return Place(**_at_once(cluster, calls))


def _namespaces(cluster: Cluster, namespace: str | None) -> list[Manifest]:
    return [cluster.get(NAMESPACES, name=namespace)] if namespace else cluster.list_all(NAMESPACES, metadata_only=True)


def _at_once(cluster: Cluster, calls: Mapping[Any, Callable[[], Any]]) -> dict[Any, Any]:
    answers = together(list(calls.values()), seconds=cluster.timeout * 2)
    return dict(zip(calls, answers, strict=True))


@dataclass(frozen=True, kw_only=True)
class Operator:
    """What was read of the controller and the webhook."""

    namespace: str
    controller: Manifest | ClusterError | None
    webhook: Manifest | ClusterError | None
    lease: Manifest | ClusterError | None
    slices: Sequence[Manifest] | ClusterError
    pods: Sequence[Manifest] | ClusterError


def read_operator(asked: Asked, place: Place) -> Operator:
    """The installation's own objects, at once."""
    cluster, namespace = asked.cluster, _operator_namespace(place)
    calls: dict[str, Callable[[], Any]] = {
        "controller": functools.partial(cluster.find, DEPLOYMENTS, name="o365mailer-controller", namespace=namespace),
        "webhook": functools.partial(cluster.find, DEPLOYMENTS, name=SERVICE, namespace=namespace),
        "lease": functools.partial(cluster.find, LEASES, name=LEASE, namespace=namespace),
        "slices": functools.partial(
            cluster.list_all, ENDPOINT_SLICES, namespace=namespace, labels=f"kubernetes.io/service-name={SERVICE}"
        ),
        "pods": functools.partial(cluster.list_all, PODS, namespace=namespace, labels=OURS),
    }
    return Operator(namespace=namespace, **_at_once(cluster, calls))


def _operator_namespace(place: Place) -> str:
    """Where the webhook's configuration says, or where a controller is; else where the docs install it."""
    service = (pods_entry(place.configuration).get("clientConfig") or {}).get("service") or {}
    if service.get("namespace"):
        return str(service["namespace"])
    if not isinstance(place.controllers, ClusterError) and place.controllers:
        return str(place.controllers[0]["metadata"]["namespace"])
    return USUAL_NAMESPACE


@dataclass(frozen=True)
class Look:
    """What was read of a cluster, and what was found."""

    version: str
    """The API server's."""
    place: Place
    operator: Operator
    groups: list[Group]


def judge(asked: Asked, version: str, place: Place, operator: Operator) -> list[Group]:
    """Ask for what remains (metrics, the dry run, rights), and say what is to be said of it all."""
    cluster, now = asked.cluster, datetime.datetime.now(datetime.UTC)
    mailers: Sequence[Mailer] = or_nothing(place.mailers)
    relays = [each for each in or_nothing(place.relays) if asked.mailer in (None, each.mailer)]
    running = [each for each in or_nothing(operator.pods) if each.get("status", {}).get("phase") == "Running"]
    account = _account(operator)
    wanted = _rights(operator.namespace, sorted({each.namespace for each in mailers})) if account else {}
    probed = _probe_namespace(asked, place)
    answers = _at_once(
        cluster,
        {
            "figures": functools.partial(read_figures, cluster, relays),
            "refusals": functools.partial(_refusals, cluster, or_nothing(place.events), now),
            "dry run": functools.partial(cluster.create, PODS, PROBE, namespace=probed, dry_run=True)
            if probed
            else lambda: None,
            **{("page", number): functools.partial(own_metrics, cluster, pod) for number, pod in enumerate(running)},
            **{("right", words): functools.partial(_may, cluster, account, right) for words, right in wanted.items()},
        },
    )
    pages = [answer for key, answer in answers.items() if key[0] == "page" and isinstance(answer, str)]
    told = Told.of(pages, now)
    run = DryRun(probed, answers["dry run"]) if probed else None
    configuration = place.configuration if isinstance(place.configuration, dict) else None
    webhook = operator.webhook if isinstance(operator.webhook, dict) else None
    facts = PodFacts(
        annotated=[each for each in or_nothing(place.pods) if _is_annotated(each, asked)],
        readings=or_nothing(answers["figures"]),
        mailers={(each.namespace, each.name): each for each in mailers},
        installation=Installation(configuration, webhook),
        namespaces=_labels(place),
        refusals=or_nothing(answers["refusals"]),
        now=now,
    )
    allowed = {key[1]: answer for key, answer in answers.items() if key[0] == "right"}
    return [
        Group("API server", server_findings(cluster.server, cluster.identity, version, place.nodes)),
        Group("Installation", [*_installation(place, operator, told, run), *rights(allowed, account)]),
        Group("Mailers", _mailers(asked, place, told)),
        Group("Pods", [*_unread(asked, place), *pod_findings(facts)]),
    ]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the metrics of the controller and the webhook say, and when they were asked."""

    now: datetime.datetime
    versions: Mapping[str, str]
    """By role; without those that could not be asked."""
    certificates: Certificates
    credentials: Mapping[tuple[str, str], float]
    """When a mailer's certificate ends (Unix time), by namespace and name."""

    @classmethod
    def of(cls, pages: Sequence[str], now: datetime.datetime) -> "Told":
        """What these pages of metrics say."""
        every = [sample for page in pages for sample in samples(page)]

        def values(name: str) -> list[tuple[Mapping[str, str], float]]:
            return [(labels, value) for found, labels, value in every if found == name and value]

        versions = {
            role: labels.get("version", "")
            for role in ("controller", "webhook")
            for labels, _ in values(f"o365mailer_{role}_info")
        }
        authority = [value for _, value in values("o365mailer_webhook_authority_expiry_timestamp_seconds")]
        return cls(
            now=now,
            versions=versions,
            certificates=Certificates(
                authority=max(authority, default=None),
                leaves=[value for _, value in values("o365mailer_webhook_leaf_expiry_timestamp_seconds")],
            ),
            credentials={
                (labels.get("namespace", ""), labels.get("mailer", "")): value
                for labels, value in values("o365mailer_certificate_expiry_timestamp_seconds")
            },
        )


def _installation(place: Place, operator: Operator, told: Told, run: DryRun | None) -> Iterator[Finding]:
    yield from schema_finding(place.schema)
    pods = or_nothing(operator.pods)
    yield available("controller", operator.controller, pods, namespace=operator.namespace)
    if isinstance(operator.controller, dict):
        yield same_version("controller", operator.controller, told.versions.get("controller", ""))
    yield leading(operator.lease, told.now, namespace=operator.namespace)
    yield available("webhook", operator.webhook, pods, namespace=operator.namespace)
    if isinstance(operator.webhook, dict):
        yield same_version("webhook", operator.webhook, told.versions.get("webhook", ""))
    entry = pods_entry(place.configuration)
    yield from endpoints(operator.slices, entry, namespace=operator.namespace)
    yield from configuration_findings(place.configuration, told.certificates, told.now)
    yield from admission(run, str(entry.get("failurePolicy", "")))


def _mailers(asked: Asked, place: Place, told: Told) -> list[Finding]:
    if isinstance(place.mailers, Absent) and place.mailers.kind_missing:
        return []  # said above
    if isinstance(place.mailers, ClusterError):
        return [unread("mailer.ready", "the mailers", place.mailers, namespace=asked.namespace or "")]
    if not place.mailers:
        return [Finding(name="mailer.ready", status=Status.OK, title=f"there is no mailer in {asked.place}")]
    return [
        finding
        for each in place.mailers
        for finding in mailer_findings(
            each, certificate=told.credentials.get((each.namespace, each.name)), now=told.now
        )
    ]


def _unread(asked: Asked, place: Place) -> Iterator[Finding]:
    namespace = asked.namespace or ""
    for problem in (place.pods, place.relays):
        if isinstance(problem, ClusterError):
            yield unread("pods.relay", "the pods", problem, namespace=namespace)
            return


def or_nothing(answer: Any) -> Any:
    """What was read; an empty list for what could not be."""
    return [] if isinstance(answer, ClusterError) or answer is None else answer


def _is_annotated(pod: Manifest, asked: Asked) -> bool:
    name = (pod["metadata"].get("annotations") or {}).get(INJECT_ANNOTATION)
    return name is not None and asked.mailer in (None, name)


def _labels(place: Place) -> dict[str, Mapping[str, str]]:
    return {each["metadata"]["name"]: each["metadata"].get("labels") or {} for each in or_nothing(place.namespaces)}


def _probe_namespace(asked: Asked, place: Place) -> str:
    """Where the dry run creates its pod: where annotated pods are wanted, and the webhook is called. Empty: nowhere."""
    entry = pods_entry(place.configuration)
    if not entry:
        return ""
    labels = _labels(place)
    wanted = sorted({each.namespace for each in or_nothing(place.mailers)})
    candidates = [asked.namespace] if asked.namespace else [*wanted, "default"]
    called = [
        each for each in candidates if each not in labels or not unmet(entry.get("namespaceSelector"), labels[each])
    ]
    return next(iter(called), "")


def own_metrics(cluster: Cluster, pod: Manifest) -> str:
    """The metrics of a pod of the installation. Raises ClusterError."""
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or ()]
    port = next((each["containerPort"] for each in ports if each.get("name") == "health"), HEALTH_PORT)
    return cluster.proxied(pod, port, METRICS, timeout=min(cluster.timeout, OWN_SECONDS))


def _account(operator: Operator) -> str:
    """The controller's user name; empty if its Deployment could not be read."""
    if not isinstance(operator.controller, dict):
        return ""
    name = operator.controller["spec"]["template"]["spec"].get("serviceAccountName", "default")
    return f"system:serviceaccount:{operator.namespace}:{name}"


def _rights(operator: str, namespaces: Sequence[str]) -> dict[str, dict[str, str]]:
    """What the controller has to be allowed, as the API asks for it, by the words for it."""
    webhooks = {"group": "admissionregistration.k8s.io", "resource": WEBHOOKS.plural, "name": WEBHOOK_NAME}
    wanted = {
        f"update leases in namespace {operator}": {
            "verb": "update",
            "group": "coordination.k8s.io",
            "resource": "leases",
            "name": LEASE,
            "namespace": operator,
        },
        f"patch the configuration {WEBHOOK_NAME}": {"verb": "patch", **webhooks},
    }
    for namespace in namespaces[:NAMESPACES_ASKED]:
        for verb in ("get", "create", "update"):
            right = {"verb": verb, "resource": "secrets", "namespace": namespace}
            wanted[f"{verb} secrets in namespace {namespace}"] = right
        status = {"verb": "patch", "group": GROUP, "resource": PLURAL, "subresource": "status"}
        wanted[f"patch {PLURAL}/status in namespace {namespace}"] = {**status, "namespace": namespace}
    return wanted


def _may(cluster: Cluster, account: str, right: Mapping[str, str]) -> bool:
    """Whether another account has a right. Raises Forbidden unless the user may ask."""
    _, _, namespace, _ = account.split(":")
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": account, "groups": groups, "resourceAttributes": dict(right)},
    }
    return bool(cluster.create(OTHERS_ACCESS, review)["status"].get("allowed"))


def _refusals(cluster: Cluster, events: Sequence[Manifest], now: datetime.datetime) -> list[Manifest]:
    """The newest Event of each workload whose pods the webhook refuses still, or did within some minutes."""
    newest: dict[str, Manifest] = {}
    for event in events:
        seen = instant(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])
        if seen and now - seen < REFUSED_RECENTLY and WEBHOOK_NAME in str(event.get("message")):
            newest[str((event.get("involvedObject") or {}).get("uid"))] = event
    return [event for event in newest.values() if _lacks_pods(cluster, event)]


def _lacks_pods(cluster: Cluster, event: Manifest) -> bool:
    about = event.get("involvedObject") or {}
    resource = {"ReplicaSet": REPLICA_SETS, "StatefulSet": STATEFUL_SETS}.get(str(about.get("kind")))
    if resource is None:
        return True
    try:
        found = cluster.find(resource, name=about["name"], namespace=event["metadata"]["namespace"])
    except ClusterError:
        return True
    return found is not None and int(found.get("status", {}).get("replicas") or 0) < int(found["spec"]["replicas"])
