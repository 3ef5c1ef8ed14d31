"""What goes into the bundle: reads the cluster as the user may, and makes the files of it."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from o365mailer_cli.check.asked import Asked
from o365mailer_cli.check.cluster import Look, Place, look, or_nothing, own_metrics
from o365mailer_cli.check.pods import workload_of
from o365mailer_cli.cluster import EVENTS, PODS, Manifest
from o365mailer_cli.concurrently import together
from o365mailer_cli.errors import ClusterError, Forbidden
from o365mailer_cli.relays import POD_SECONDS, Relay
from o365mailer_cli.support_bundle.logs import kept_lines
from o365mailer_cli.support_bundle.metrics import kept_samples
from o365mailer_cli.support_bundle.records import (
    deployment_record,
    event_record,
    group_records,
    mailer_record,
    pod_record,
    webhook_record,
)
from o365mailer_cli.support_bundle.text import Scrubber
from o365mailer_contract.names import CONTAINER, DOCS, GROUP, INJECT_ANNOTATION, KIND, METRICS, RELEASE
from o365mailer_operator.token.schema import served_members

PODS_ASKED: Final = 50
"""For how many relays' logs and metrics are read: those with restarts or not running first."""
LOG_BYTES: Final = 2 << 20
LONGEST: Final = 60.0
"""Seconds for all logs and metrics."""

README: Final = """\
This is a support bundle of O365 Mailer, made by `o365mailer support-bundle` {version} for {place}.
It may be sent to a person who helps. Look through it first: every file is text.

What is in it
  versions.json      of the command, the API server and the kubelets; deployments.json has those of the installation
  check.json         what `o365mailer check` finds, without the cluster's own texts
  crd-members.json   the members of a mailer that the API server keeps
  mailers.json       specs and status of the mailers
  deployments.json   the controller's and the webhook's Deployments
  webhook.json       the webhook configuration, and when the authorities that it trusts end
  pods.json          pods with a relay, or with the annotation and none; and the installation's own
  events.json        Events about these mailers and pods, and about what made the pods, without their messages
  logs/              of the relays, the controller and the webhook
  metrics/           of the same
  problems.json      what could not be read, and why

What is left out
  Secrets are never read. No password, client secret, key, token, certificate or mail is in it.
  Environments, arguments and images of your apps' containers; every label and annotation but O365 Mailer's own.
  Messages of Events, and free texts of logs: `phrases` has the known phrases that such a text contained.
  A log line or a metric that is not known to be one of O365 Mailer's, or a field of another form than it has.
  {addresses}

What stays
  Names of namespaces, pods, workloads, mailers, and of the Secrets and keys that mailers name; tenant and application
  ids; host names. They say where to look. If a name is confidential, do not send the bundle.

{docs}/command.md#support-bundle says more.
"""
WITHOUT_ADDRESSES: Final = (
    "Mail addresses and domains: <address-1> stands for the same address in every file (--with-addresses keeps them)."
)
WITH_ADDRESSES: Final = "Addresses in logs. The mailers' own addresses are in it, because --with-addresses was given."


def files(asked: Asked, *, with_addresses: bool, lines: int) -> Iterator[tuple[str, str]]:
    """Name and content of each file. `lines`: of each log, the newest. Raises ClusterError if nothing can be read."""
    found = look(asked)
    scrubber = Scrubber(with_addresses=with_addresses)
    place, operator = found.place, found.operator
    yield (
        "README.txt",
        README.format(
            version=RELEASE,
            place=asked.place,
            docs=DOCS,
            addresses=WITH_ADDRESSES if with_addresses else WITHOUT_ADDRESSES,
        ),
    )
    yield _json("mailers.json", [mailer_record(each.manifest, scrubber) for each in or_nothing(place.mailers)])
    yield _json("versions.json", _versions(found))
    yield _json("check.json", group_records(found.groups, scrubber))
    yield _json("crd-members.json", sorted(served_members(place.schema)) if isinstance(place.schema, dict) else [])
    deployments = [each for each in (operator.controller, operator.webhook) if isinstance(each, dict)]
    yield _json("deployments.json", [deployment_record(each) for each in deployments])
    configuration = place.configuration if isinstance(place.configuration, dict) else None
    yield _json("webhook.json", webhook_record(configuration) if configuration else None)
    relays: Sequence[Relay] = [each for each in or_nothing(place.relays) if asked.mailer in (None, each.mailer)]
    own: Sequence[Manifest] = or_nothing(operator.pods)
    pods = [*own, *(each.pod for each in relays), *_bare(asked, place)]
    yield _json("pods.json", [pod_record(pod) for pod in pods])
    answers = _told(asked, relays, own, lines=lines, operator=operator.namespace)
    names = names_of(pods)
    events = [each for key, some in answers.items() if key[0] == "events" for each in or_nothing(some)]
    yield _json("events.json", [event_record(each) for each in events if concerns(each, names)])
    for (kind, *name), answer in answers.items():
        if kind == "log" and not isinstance(answer, ClusterError):
            kept, dropped = kept_lines(answer)
            left_out = json.dumps({"linesLeftOut": dropped})
            yield f"logs/{'/'.join(name)}.jsonl", "\n".join([*kept, left_out]) + "\n"
        elif kind == "metrics" and not isinstance(answer, ClusterError):
            yield f"metrics/{'/'.join(name)}.txt", "\n".join(kept_samples(answer)) + "\n"
    yield _json("problems.json", problems(found, answers))


def names_of(pods: Sequence[Manifest]) -> frozenset[tuple[str, str]]:
    """Namespace and name of the pods, and of what made them."""
    return frozenset(
        (pod["metadata"]["namespace"], name)
        for pod in pods
        for name in (
            pod["metadata"]["name"],
            workload_of(pod).partition("/")[2],
            *(owner["name"] for owner in pod["metadata"].get("ownerReferences") or ()),
        )
    )


def concerns(event: Manifest, names: frozenset[tuple[str, str]]) -> bool:
    """Whether an Event is about a mailer, one of these objects, or a refusal of the webhook's."""
    about = event.get("involvedObject") or {}
    if about.get("kind") == KIND or GROUP in str(event.get("message")):
        return True
    return (str(event["metadata"].get("namespace")), str(about.get("name"))) in names


def _json(name: str, value: Any) -> tuple[str, str]:
    return name, json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _versions(found: Look) -> Manifest:
    nodes: Sequence[Manifest] = or_nothing(found.place.nodes)
    kubelets = [str(each["status"]["nodeInfo"]["kubeletVersion"]) for each in nodes]
    return {
        "command": RELEASE,
        "apiServer": found.version,
        "kubelets": {version: kubelets.count(version) for version in sorted(set(kubelets))},
    }


def _bare(asked: Asked, place: Place) -> list[Manifest]:
    """The annotated pods without a relay, of which only the metadata was read."""
    known = {str(each) for each in or_nothing(place.relays)}
    return [
        {"metadata": pod["metadata"], "spec": {}, "status": {}}
        for pod in or_nothing(place.pods)
        if (name := (pod["metadata"].get("annotations") or {}).get(INJECT_ANNOTATION)) is not None
        and asked.mailer in (None, name)
        and f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" not in known
    ]


Key = tuple[str, ...]


def _told(
    asked: Asked, relays: Sequence[Relay], own: Sequence[Manifest], *, lines: int, operator: str
) -> dict[Key, Any]:
    """Events, logs and metrics, all at once: what was answered, or a ClusterError."""
    cluster = asked.cluster
    calls: dict[Key, Callable[[], Any]] = {}
    chosen = sorted(relays, key=lambda each: (each.running, -_restarts(each.pod), str(each)))[:PODS_ASKED]
    for relay in chosen:
        calls |= _logs(asked, relay.pod, CONTAINER, lines)
        if relay.running:
            path = functools.partial(cluster.proxied, relay.pod, relay.health_port, METRICS)
            calls["metrics", relay.namespace, relay.name] = functools.partial(path, timeout=POD_SECONDS)
    for pod in own:
        name = pod["metadata"]["name"]
        for container in pod["spec"]["containers"]:
            calls |= _logs(asked, pod, container["name"], lines)
        calls["metrics", operator, name] = functools.partial(own_metrics, cluster, pod)
    for namespace in {asked.namespace, operator} if asked.namespace else {None}:
        calls["events", namespace or ""] = functools.partial(cluster.list_all, EVENTS, namespace=namespace)
    return dict(zip(calls, together(list(calls.values()), seconds=LONGEST), strict=True))


def _logs(asked: Asked, pod: Manifest, container: str, lines: int) -> Mapping[Key, Callable[[], str]]:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    path = PODS.path(namespace=namespace, name=name, subresource="log")
    query = {"container": container, "tailLines": str(lines), "limitBytes": str(LOG_BYTES)}
    calls: dict[Key, Callable[[], str]] = {
        ("log", namespace, f"{name}.{container}"): functools.partial(asked.cluster.text, path, query=query)
    }
    if _restarts(pod):
        before = {**query, "previous": "true"}
        calls["log", namespace, f"{name}.{container}.previous"] = functools.partial(
            asked.cluster.text, path, query=before
        )
    return calls


def _restarts(pod: Manifest) -> int:
    status = pod.get("status", {})
    every = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return max((int(each.get("restartCount") or 0) for each in every), default=0)


def problems(found: Look, answers: Mapping[Key, Any]) -> list[Manifest]:
    """What could not be read. Only the kind of the failure is said: the API server's sentence names the user."""
    parts = {**vars(found.place), **vars(found.operator)}
    missing = {name: part for name, part in parts.items() if isinstance(part, ClusterError)}
    missing |= {" ".join(key): answer for key, answer in answers.items() if isinstance(answer, ClusterError)}
    return [{"what": name, "why": _why(error)} for name, error in missing.items()]


def _why(error: ClusterError) -> str:
    if isinstance(error, Forbidden):
        return "no right: ask for the ClusterRole o365mailer-viewer"
    return "no answer, or it is not there"
