"""Runs the Job, follows it until there is a verdict, and removes it: also after a failure, and after Ctrl-C."""

import time
from collections.abc import Callable
from typing import Any, Final

from o365mailer_cli.cluster import EVENTS, JOBS, PODS, Cluster, Manifest
from o365mailer_cli.errors import Absent, ClusterError, Forbidden, Refused
from o365mailer_cli.relays import status_of
from o365mailer_cli.send_test.job import CONTAINER, JOB_LABEL, START, TestMail, manifest
from o365mailer_cli.send_test.verdict import FOR_A_PERSON, RELAY_PAGE, Verdict, attempts_in, record_in, verdict_of
from o365mailer_contract.names import CONTAINER as RELAY
from o365mailer_contract.names import DOCS

LOOK_EVERY: Final = 0.5
RECORD_SECONDS: Final = 3.0
"""How long the relay's audit record may lag after its reply."""
REFUSAL_SECONDS: Final = 5.0
"""How long the Job controller may try to create the pod: a webhook may just be restarting."""
DEAD_ENDS: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError"}
)
"""Why a container waits that does not start by itself (kubelet)."""
INJECTION_PAGE: Final = f"{DOCS}/injection.md#when-a-pod-is-refused"

Told = Callable[[str], None]


def send(cluster: Cluster, mail: TestMail, *, told: Told, left: Told) -> Verdict:
    """Send the mail, and say what became of it. Raises ClusterError.

    `told` gets what it waits for. `left` gets why the Job could not be removed: that changes nothing about the verdict.
    """
    made = True  # or on its way: after Ctrl-C, or if the answer is lost, it may be there
    try:
        try:
            cluster.create(JOBS, manifest(mail), namespace=mail.namespace)
        except Refused as error:
            made = False
            return _not_sent("JobRefused", str(error), "Correct what the message names.", INJECTION_PAGE)
        except Forbidden:
            made = False
            raise
        return _Following(cluster, mail, told).verdict()
    finally:
        if made:
            _remove(cluster, mail, left)


def _remove(cluster: Cluster, mail: TestMail, left: Told) -> None:
    """Delete the Job. Its pod goes with it."""
    try:
        cluster.delete(JOBS, name=mail.name, namespace=mail.namespace)
    except ClusterError as error:
        left(f"The Job {mail.name} could not be removed: {error} Kubernetes removes it five minutes after its end.")


class _Following:
    """One look at the Job's pod after another."""

    def __init__(self, cluster: Cluster, mail: TestMail, told: Told) -> None:
        self.cluster, self.mail, self.told = cluster, mail, told
        self.begun = time.monotonic()
        self.state = "the pod is created"

    def verdict(self) -> Verdict:
        """What became of the mail."""
        end = self.begun + self.mail.seconds + START
        while time.monotonic() < end:
            self.told(f"{self.state} ({time.monotonic() - self.begun:.0f} s)")
            if found := self.look():
                return found
            time.sleep(LOOK_EVERY)
        return _not_sent(
            "Timeout",
            f"There is no verdict within {self.mail.seconds + START:g} s: {self.state}.",
            "Look at the Events in the namespace: kubectl get events. --timeout waits longer.",
            f"{DOCS}/troubleshooting.md",
        )

    def look(self) -> Verdict | None:
        """The verdict, once there is one."""
        pods = self.cluster.list_all(PODS, namespace=self.mail.namespace, labels=f"{JOB_LABEL}={self.mail.name}")
        if not pods:
            return self.refusal()
        (pod,) = pods[:1]
        if not status_of(pod):
            return _not_sent(
                "NotInjected",
                "The Job's pod has no relay: the webhook was not asked, or did not answer.",
                f"o365mailer check says why. In namespace {self.mail.namespace}, a label may exclude injection.",
                f"{DOCS}/troubleshooting.md#the-installation",
            )
        return self.dead_end(pod) or self.attempts(pod)

    def refusal(self) -> Verdict | None:
        """Why there is no pod, after a while: the Job controller says it in an Event."""
        fields = f"involvedObject.name={self.mail.name},reason=FailedCreate"
        events = self.cluster.list_all(EVENTS, namespace=self.mail.namespace, fields=fields)
        if not events:
            return None
        message = str(events[-1].get("message", "")).removeprefix("Error creating: ")
        self.state = f"the pod is refused: {message}"
        if time.monotonic() - self.begun < REFUSAL_SECONDS:
            return None
        return _not_sent("PodRefused", message, "Correct what the message names.", INJECTION_PAGE)

    def dead_end(self, pod: Manifest) -> Verdict | None:
        """Why a container of the pod does not start, if it will not do so by itself."""
        status = pod.get("status", {})
        for each in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
            waiting = each.get("state", {}).get("waiting") or {}
            if waiting.get("reason") in DEAD_ENDS:
                why = f"{waiting['reason']}: {waiting.get('message', '')}"
                return _not_sent(
                    str(waiting["reason"]),
                    f"The container {each['name']} does not start: {why}",
                    "Name an image with python3 that the cluster can pull: --image."
                    if each["name"] == CONTAINER
                    else "Look at the chart's values sidecar.image and sidecar.imagePullSecrets.",
                    f"{DOCS}/install.md",
                )
        for each in status.get("conditions") or ():
            if each["type"] == "PodScheduled" and each["status"] == "False":
                self.state = f"no node takes the pod: {each.get('message', '')}"
        return None

    def attempts(self, pod: Manifest) -> Verdict | None:
        """The verdict of the last attempt."""
        attempts = attempts_in(self.log(pod, CONTAINER))
        if not attempts:
            if pod.get("status", {}).get("phase") == "Failed":
                return _not_sent(
                    "PodFailed",
                    f"The Job's pod failed: {self.log(pod, CONTAINER)[-300:] or 'it left no message'}",
                    "Name an image with python3: --image.",
                    RELAY_PAGE,
                )
            if pod.get("status", {}).get("phase") == "Running":
                self.state = "Office 365 is asked"
            elif pod["spec"].get("nodeName"):
                self.state = "the pod starts"
            return None
        last = attempts[-1]
        self.state = f"tried {len(attempts)} times, last reply {last['code']} {str(last['text'])[:100]}"
        settled = last["last"] or verdict_of(last, {}).outcome in FOR_A_PERSON
        return verdict_of(last, self.record(pod)) if settled else None

    def record(self, pod: Manifest) -> dict[str, Any]:
        """The relay's audit record."""
        end = time.monotonic() + RECORD_SECONDS
        while not (record := record_in(self.log(pod, RELAY))) and time.monotonic() < end:
            time.sleep(LOOK_EVERY)
        return dict(record)

    def log(self, pod: Manifest, container: str) -> str:
        """A container's log; empty before it has started."""
        path = PODS.path(namespace=self.mail.namespace, name=pod["metadata"]["name"], subresource="log")
        try:
            return self.cluster.text(path, query={"container": container})
        except (Refused, Absent):  # 400 while it waits to start
            return ""


def _not_sent(reason: str, text: str, remedy: str, link: str) -> Verdict:
    return Verdict(outcome="not-sent", reason=reason, text=text, remedy=remedy, link=link)
