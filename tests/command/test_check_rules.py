"""The pure rules of `check`: what a fact means, its words, and where its link leads."""

import dataclasses
import datetime
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from project.test_links import HEADING, anchor, prose

from o365mailer_cli.check import cluster, controller, deployment, mailer, pods, rights, schema, server, webhook
from o365mailer_cli.check.controller import leading
from o365mailer_cli.check.deployment import available, same_version
from o365mailer_cli.check.mailer import REMEDIES, mailer_findings
from o365mailer_cli.check.pods import PodFacts, pod_findings, workload_of
from o365mailer_cli.check.schema import STATUS_MEMBERS, needed_members
from o365mailer_cli.check.server import server_findings
from o365mailer_cli.check.webhook import Certificates, DryRun, admission, configuration_findings, endpoints
from o365mailer_cli.errors import Absent, Forbidden, Unavailable
from o365mailer_cli.finding import Finding, Status
from o365mailer_cli.installation import ENV_SIDECAR_IMAGE, Installation, unmet
from o365mailer_cli.mailers import Mailer, reason_link
from o365mailer_cli.relays import Figures, Reading, Relay
from o365mailer_contract.names import DOCS, RELEASE
from o365mailer_operator.controller.conditions import AUTHENTICATED, REASONS, TOKEN_ISSUED, TOKEN_VALID
from o365mailer_operator.controller.mailer import Status as MailerStatus
from o365mailer_operator.pki import authority
from o365mailer_operator.token.schema import SCHEMA

NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
PAGES = Path(__file__).parents[2] / "docs"
ANCHOR = re.compile(r'<a id="([^"]+)"></a>')


def leads_somewhere(link: str) -> bool:
    """Whether a link of a finding is a page of the docs, and its anchor one of that page's."""
    if not link.startswith(DOCS):
        return link.startswith("https://")
    page, _, wanted = link.removeprefix(f"{DOCS}/").partition("#")
    text = (PAGES / page).read_text()
    return not wanted or wanted in {*map(anchor, HEADING.findall(prose(PAGES / page))), *ANCHOR.findall(text)}


def status_of(findings: Any, name: str) -> list[str]:
    """The statuses of the findings of a name."""
    return [each.status.value for each in findings if each.name == name]


def test_every_reason_of_a_condition_has_a_remedy_and_a_section() -> None:
    assert {reason for reason in REASONS if reason not in REMEDIES} == {TOKEN_VALID, TOKEN_ISSUED, AUTHENTICATED}
    assert [reason for reason in sorted(REASONS) if not leads_somewhere(reason_link(reason))] == []
    assert not leads_somewhere(reason_link("NoSuchReason"))


def test_every_link_of_the_modules_leads_somewhere() -> None:
    modules = (cluster, controller, deployment, mailer, pods, rights, schema, server, webhook)
    constants = [value for each in modules for value in vars(each).values() if isinstance(value, str)]
    sources = [line for each in modules for line in Path(str(each.__file__)).read_text().splitlines()]
    written = [DOCS + link for line in sources for link in re.findall(r'f"\{DOCS\}(/[^"{]+)"', line)]
    links = {each for each in [*constants, *written] if each.startswith("https://")} - {DOCS}
    assert len(links) > 12
    assert [each for each in sorted(links) if not leads_somewhere(each)] == []


def test_the_schema_is_compared_with_what_the_controller_reads_and_writes() -> None:
    assert set(STATUS_MEMBERS) == {field.encode_name for field in msgspec.structs.fields(MailerStatus)}
    assert {"spec.recipients.redirectTo", "spec.credential.clientSecret.secretRefs.key"} <= needed_members()


def openapi(members: dict[str, Any]) -> dict[str, Any]:
    """What the API server publishes of a CRD with this schema."""
    return {"components": {"schemas": {SCHEMA: members}}}


def test_a_schema_that_lacks_a_member_fails_and_one_that_has_more_warns() -> None:
    crd = yaml.safe_load((PAGES.parent / "crds" / "o365mailers.yaml").read_text())
    ours = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert status_of(schema.schema_finding(openapi(ours)), "crd.schema") == ["ok"]
    spec = ours["properties"]["spec"]["properties"]
    spec["later"] = {"type": "string"}
    assert status_of(schema.schema_finding(openapi(ours)), "crd.schema") == ["warning"]
    del spec["recipients"]["properties"]["allowedDomains"]
    (_, found) = schema.schema_finding(openapi(ours))
    assert found.status == Status.FAILED
    assert "spec.recipients.allowedDomains" in found.cause
    assert status_of(schema.schema_finding(Absent("none", kind_missing=True)), "crd.installed") == ["failed"]


def node(version: str) -> dict[str, Any]:
    """A node with this kubelet."""
    return {"metadata": {"name": f"node-{version}"}, "status": {"nodeInfo": {"kubeletVersion": version}}}


@pytest.mark.parametrize(
    ("version", "status"),
    [("v1.31.9", "failed"), ("v1.32.0", "ok"), ("v1.37.2-gke.1", "ok"), ("v1.38.0", "warning"), ("dev", "unknown")],
)
def test_versions_of_the_api_server(version: str, status: str) -> None:
    assert status_of(server_findings("https://api", "me", version, []), "api.version") == [status]


@pytest.mark.parametrize(
    ("kubelets", "statuses"),
    [
        (["v1.28.15"], ["failed"]),
        (["v1.29.0", "v1.35.4+rke2r1"], ["ok"]),
        (["v1.35.0"], ["warning"]),
        (["v1.35.3", "v1.28.0"], ["failed", "warning"]),
        (["v1.34.9", "v1.36.0"], ["ok"]),
    ],
)
def test_kubelets_that_cannot_run_the_relay_or_have_a_known_fault(kubelets: list[str], statuses: list[str]) -> None:
    findings = server_findings("https://api", "me", "v1.35.4", [node(each) for each in kubelets])
    assert status_of(findings, "api.kubelets") == statuses


@pytest.mark.parametrize(("holder", "age", "status"), [("pod_1", 5, "ok"), ("pod_1", 600, "failed"), ("", 1, "failed")])
def test_whether_a_controller_leads(holder: str, age: int, status: str) -> None:
    renewed = f"{NOW - datetime.timedelta(seconds=age):%Y-%m-%dT%H:%M:%S.000000Z}"
    lease = {"spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 12}}
    assert leading(lease, NOW, namespace="mail").status == status
    assert leading(None, NOW, namespace="mail").status == "failed"


def test_a_deployment_without_its_replicas_says_why() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    pod = {
        "metadata": {"name": "webhook-1", "labels": {"app.kubernetes.io/component": "webhook"}},
        "status": {"containerStatuses": [{"state": {"waiting": waiting}}]},
    }
    half = {"spec": {"replicas": 2}, "status": {"availableReplicas": 1}}
    found = available("webhook", half, [pod], namespace="mail")
    assert (found.status, found.cause) == (Status.WARNING, "Pod webhook-1: ImagePullBackOff. no such image")
    none = available("webhook", {"spec": {"replicas": 2}}, [], namespace="mail")
    assert none.status == Status.FAILED
    assert available("webhook", {"spec": {"replicas": 0}}, [], namespace="mail").title == "the webhook is scaled to 0"
    assert available("webhook", None, [], namespace="mail").title == "the webhook is not installed"


def test_a_part_of_another_version() -> None:
    labelled = {"metadata": {"labels": {"app.kubernetes.io/version": "0.0.9"}}}
    assert same_version("controller", labelled, "").status == Status.WARNING
    assert same_version("controller", labelled, RELEASE).status == Status.OK


def configuration(*ends: datetime.timedelta, policy: str = "Fail") -> dict[str, Any]:
    """A configuration that trusts authorities that end then."""
    pairs = [authority.make(now=NOW + each - authority.LIFETIME, lifetime=authority.LIFETIME) for each in ends]
    bundle = authority.write(authority.Authorities(signer=pairs[0], retired=tuple(p.certificate for p in pairs[1:])))
    entry = {
        "name": "pods.admission.o365mailer.dev",
        "failurePolicy": policy,
        "clientConfig": {"service": {"namespace": "mail"}, "caBundle": bundle["ca.crt"]},
    }
    return {"metadata": {}, "webhooks": [entry]}


DAY = datetime.timedelta(days=1)


@pytest.mark.parametrize(
    ("left", "signs", "status"),
    [(200, 200, "ok"), (200, 300, "failed"), (40, 40, "warning"), (-1, -1, "failed")],
)
def test_the_authority_that_the_api_server_trusts(left: int, signs: int, status: str) -> None:
    certificates = Certificates(authority=(NOW + signs * DAY).timestamp())
    found = configuration_findings(configuration(left * DAY), certificates, NOW)
    assert status_of(found, "webhook.authority") == [status]


@pytest.mark.parametrize(("hours", "status"), [(10, "ok"), (1, "warning"), (-1, "failed")])
def test_the_certificates_of_the_replicas(hours: int, status: str) -> None:
    leaves = [(NOW + datetime.timedelta(hours=each)).timestamp() for each in (20, hours)]
    found = configuration_findings(configuration(200 * DAY), Certificates(leaves=leaves), NOW)
    assert status_of(found, "webhook.certificate") == [status]


CALLED = (
    'Internal error occurred: failed calling webhook "pods.admission.o365mailer.dev": failed to call webhook: Post '
)
URL = '"https://o365mailer-webhook.mail.svc:443/pods?timeout=10s": '


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("dial tcp 10.0.0.1:443: connect: connection refused", "the webhook is away"),
        ('service "o365mailer-webhook" not found', "the webhook is away"),
        ('no endpoints available for service "o365mailer-webhook"', "the webhook is away"),
        ("context deadline exceeded", "the webhook does not answer in time"),
        (
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "the API server does not trust the webhook's certificate",
        ),
        (
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time …",
            "the webhook's certificate has expired",
        ),
        (
            "tls: failed to verify certificate: x509: certificate is valid for other.svc, not o365mailer-webhook",
            "the webhook's certificate is for another name",
        ),
        ("an unheard-of failure", "the API server cannot ask the webhook"),
    ],
)
def test_how_the_call_of_the_webhook_fails(text: str, title: str) -> None:
    (found,) = admission(DryRun("shop", Unavailable(CALLED + URL + text)), "Fail")
    assert (found.status, found.title) == (Status.FAILED, title)
    assert text in found.cause


def test_a_dry_run_that_may_not_be_done() -> None:
    refused = Forbidden('pods is forbidden: User "jane" cannot create resource "pods" in API group ""')
    (found,) = admission(DryRun("shop", refused), "Fail")
    assert found.status == Status.UNKNOWN
    assert "kubectl create rolebinding -n shop NAME --clusterrole=edit" in found.remedy
    (other,) = admission(DryRun("shop", Forbidden("exceeded quota: pods")), "Fail")
    assert (other.status, other.name) == (Status.UNKNOWN, "webhook.admission")


def test_a_service_without_ready_endpoints() -> None:
    entry = configuration(DAY)["webhooks"][0]
    unready = [{"endpoints": [{"conditions": {"ready": False}}]}]
    assert status_of(endpoints(unready, entry, namespace="mail"), "webhook.endpoints") == ["failed"]
    assert status_of(endpoints([], entry, namespace="mail"), "webhook.endpoints") == ["failed"]
    ready = [{"endpoints": [{"conditions": {"ready": True}}, {"conditions": {"ready": False}}]}]
    assert status_of(endpoints(ready, entry, namespace="mail"), "webhook.endpoints") == ["ok"]


def test_label_selectors() -> None:
    labels = {"kubernetes.io/metadata.name": "shop", "team": "red"}
    assert not unmet(None, labels)
    assert not unmet({"matchLabels": {"team": "red"}}, labels)
    assert unmet({"matchLabels": {"team": "blue"}}, labels) == "the label team=blue"
    for operator, values, expected in (
        ("In", ["red"], True),
        ("NotIn", ["red"], False),
        ("Exists", None, True),
        ("DoesNotExist", None, False),
    ):
        requirement = {"key": "team", "operator": operator, "values": values}
        assert (unmet({"matchExpressions": [requirement]}, labels) == "") is expected


def a_mailer(ready: str = "True", reason: str = "TokenValid", **status: Any) -> Mailer:
    """A mailer with this condition."""
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": "why"}
    return Mailer(
        {
            "metadata": {"namespace": "shop", "name": "noreply", "creationTimestamp": "2026-11-01T00:00:00Z"},
            "spec": {"mailbox": "noreply@contoso.com", **status.pop("spec", {})},
            "status": {"conditions": [condition] if reason else [], "tokenRevision": 3, **status},
        }
    )


@pytest.mark.parametrize(
    ("mailer_", "status"),
    [
        (a_mailer(), "ok"),
        (a_mailer(reason="RefreshFailing"), "warning"),
        (a_mailer("False", "SecretNotFound"), "failed"),
        (a_mailer(tokenExpiry="2026-11-28T11:59:00Z"), "failed"),
        (a_mailer("False", "Suspended", spec={"suspend": True}), "warning"),
        (a_mailer(reason=""), "failed"),
    ],
)
def test_what_a_mailers_condition_means(mailer_: Mailer, status: str) -> None:
    assert status_of(mailer_findings(mailer_, certificate=None, now=NOW), "mailer.ready") == [status]


REFUSED = "Exchange refuses the login as noreply@contoso.com (token): 535 5.7.3 no\nThe causes\nand the commands"


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (("True", "Authenticated", "Exchange lets it log in."), ["ok"]),
        (("False", "LoginPending", REFUSED), ["warning"]),
        (("False", "LoginRefused", REFUSED), ["failed"]),
        (("Unknown", "ExchangeUnreachable", REFUSED), ["unknown"]),
        (("Unknown", "LoginNotTried", "soon"), []),
        (("Unknown", "CanaryOff", "off"), []),
    ],
)
def test_what_the_controllers_login_means(condition: tuple[str, str, str], status: list[str]) -> None:
    told = dict(zip(("status", "reason", "message"), condition, strict=True))
    mailer = a_mailer()
    mailer.manifest["status"]["conditions"].append({"type": "Authenticated", **told})
    findings = list(mailer_findings(mailer, certificate=None, now=NOW))
    assert status_of(findings, "mailer.login") == status
    for found in findings:
        if found.name == "mailer.login" and found.status is not Status.OK:
            assert found.cause == "The causes\nand the commands"
            assert leads_somewhere(found.link)


def test_a_mailer_that_exchange_refuses_says_the_causes_once() -> None:
    mailer = a_mailer("False", "LoginRefused")
    mailer.manifest["status"]["conditions"][0]["message"] = REFUSED
    mailer.manifest["status"]["conditions"].append(
        {"type": "Authenticated", "status": "False", "reason": "LoginRefused", "message": REFUSED}
    )
    ready, login = (each for each in mailer_findings(mailer, certificate=None, now=NOW) if "mailer." in each.name)
    assert "The causes" not in ready.cause
    assert login.cause == "The causes\nand the commands"


def test_the_cause_does_not_repeat_the_remedy() -> None:
    mailer = a_mailer("False", "SecretNotFound")
    condition = mailer.manifest["status"]["conditions"][0]
    condition["message"] = f"There is no Secret app. {REMEDIES['SecretNotFound']} [id 1]"

    found = next(mailer_findings(mailer, certificate=None, now=NOW))

    assert (found.cause, found.remedy) == ("There is no Secret app. [id 1]", REMEDIES["SecretNotFound"])


def test_a_refresh_that_is_late() -> None:
    late = a_mailer(nextRefresh="2026-11-28T11:00:00Z")
    assert status_of(mailer_findings(late, certificate=None, now=NOW), "mailer.refresh") == ["warning"]
    due = a_mailer(nextRefresh="2026-11-28T12:10:00Z")
    assert status_of(mailer_findings(due, certificate=None, now=NOW), "mailer.refresh") == []


FIGURES = Figures(
    version=RELEASE,
    revision=3,
    ready=True,
    upstream_up=True,
    token_expires=NOW.timestamp() + 3000,
    queued=0,
    oldest=0.0,
    dead=0,
    damaged=0,
    blocked=(),
)


def a_pod(container: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """An injected pod."""
    return {
        "metadata": {
            "namespace": "shop",
            "name": "web-1",
            "labels": {"o365mailer.dev/mailer": "noreply"},
            "annotations": {"o365mailer.dev/inject": "noreply", "o365mailer.dev/status": "{}"},
            **metadata,
        },
        "spec": {"initContainers": [{"name": "o365mailer", "image": "relay:1"}]},
        "status": {"phase": "Running", "initContainerStatuses": [{"name": "o365mailer", **(container or {})}]},
    }


def injecting(image: str) -> dict[str, Any]:
    """The webhook's Deployment, as far as it says which relay new pods get."""
    container = {"env": [{"name": ENV_SIDECAR_IMAGE, "value": image}]}
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def judged(pod: dict[str, Any], **figures: Any) -> list[Finding]:
    """What is found of one pod."""
    told = dataclasses.replace(FIGURES, **figures)
    facts = PodFacts(
        annotated=[pod],
        readings=[Reading(Relay(pod), told)],
        mailers={("shop", "noreply"): a_mailer(lastRefresh="2026-11-28T11:00:00Z")},
        installation=Installation(configuration(DAY), injecting("relay:1")),
        namespaces={"shop": {}},
        refusals=[],
        now=NOW,
    )
    return [each for each in pod_findings(facts) if each.status is not Status.OK]


@pytest.mark.parametrize(
    ("figures", "name", "status"),
    [
        ({}, None, None),
        ({"revision": 2}, "pods.token", "warning"),
        ({"revision": 2, "token_expires": NOW.timestamp() - 5}, "pods.token", "failed"),
        ({"blocked": ("no-right",)}, "pods.blocked", "failed"),
        ({"blocked": ("token-refused",)}, "pods.blocked", "failed"),
        ({"upstream_up": False}, "pods.upstream", "failed"),
        ({"ready": False}, "pods.ready", "warning"),
        ({"dead": 1}, "pods.failed-mail", "warning"),
        ({"oldest": 4000.0, "queued": 2}, "pods.queue", "warning"),
    ],
)
def test_what_a_relay_says_of_itself(figures: dict[str, Any], name: str | None, status: str | None) -> None:
    found = judged(a_pod(), **figures)
    assert [(each.name, each.status.value) for each in found] == ([(name, status)] if name else [])
    assert all(each.cause and each.remedy and leads_somewhere(each.link) for each in found)


def test_a_relay_that_is_blocked_has_the_remedy_that_the_app_is_told() -> None:
    (found,) = judged(a_pod(), blocked=("no-right",))
    assert "give the app its right on the mailbox" in found.remedy.lower()


def test_a_refused_login_names_the_command_that_tries_it() -> None:
    (found,) = judged(a_pod(), blocked=("token-refused",))
    assert "o365mailer check noreply -n shop" in found.remedy


def test_a_relay_that_does_not_start_or_was_restarted() -> None:
    crash = {"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}}
    assert [each.name for each in judged(a_pod(crash))] == ["pods.running"]
    ended = {"exitCode": 1, "finishedAt": "2026-11-28T11:50:00Z", "message": "Timeout (0:01:00)!"}
    restarted = {"state": {"running": {}}, "lastState": {"terminated": ended}}
    (found,) = judged(a_pod(restarted))
    assert (found.name, found.status.value) == ("pods.restarts", "warning")
    assert "Timeout (0:01:00)!" in found.cause
    long_ago = {"state": {"running": {}}, "lastState": {"terminated": {**ended, "finishedAt": "2026-11-27T00:00:00Z"}}}
    assert judged(a_pod(long_ago)) == []


def test_pods_of_one_workload_are_one_finding() -> None:
    owner = {"kind": "ReplicaSet", "name": "web-abc12", "controller": True}
    pod = a_pod(ownerReferences=[owner], labels={"pod-template-hash": "abc12"})
    assert workload_of(pod) == "deployment/web"
    assert workload_of(a_pod(ownerReferences=[{"kind": "Job", "name": "nightly", "controller": True}])) == "job/nightly"
    assert workload_of(a_pod()) == "pod/web-1"


ANNOTATED = {
    "time": "2026-11-28T11:30:00Z",
    "fieldsV1": {"f:metadata": {"f:annotations": {"f:o365mailer.dev/inject": {}}}},
}


def without_relay(webhook: dict[str, Any] | None, **metadata: Any) -> Finding:
    """What is found of one annotated pod that has no relay."""
    pod = a_pod(**{"annotations": {"o365mailer.dev/inject": "noreply"}, **metadata})
    facts = PodFacts(
        annotated=[pod],
        readings=[],
        mailers={},
        installation=Installation(webhook, None),
        namespaces={"shop": {}},
        refusals=[],
        now=NOW,
    )
    (found,) = pod_findings(facts)
    assert found.status == Status.FAILED
    return found


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"creationTimestamp": "2026-11-01T00:00:00Z"}, "older than the webhook"),
        ({"annotations": {"o365mailer.dev/inject": "noreply", "kubernetes.io/config.mirror": "1"}}, "static pod"),
        (
            {"creationTimestamp": "2026-11-28T11:00:00Z", "managedFields": [ANNOTATED]},
            "annotation was written on the running pod",
        ),
        ({"creationTimestamp": "2026-11-28T11:00:00Z"}, "webhook was not asked when the pod was created"),
    ],
)
def test_why_a_pod_has_no_relay(metadata: dict[str, Any], words: str) -> None:
    webhook_made = {**configuration(DAY), "metadata": {"creationTimestamp": "2026-11-20T00:00:00Z"}}
    assert words in without_relay(webhook_made, **metadata).cause


@pytest.mark.parametrize(
    ("metadata", "cause", "remedy"),
    [
        ({"managedFields": [ANNOTATED]}, "annotation was written on the running pod", "kubectl annotate deployment"),
        ({}, "or you may not read it", "helm list -A shows it. If it is, get new pods: delete and create pod/web-1"),
    ],
)
def test_why_a_pod_has_no_relay_for_a_user_who_may_not_read_the_webhooks_configuration(
    metadata: dict[str, Any], cause: str, remedy: str
) -> None:
    """The RoleBinding in docs/command.md gives no right on objects of the whole cluster."""
    found = without_relay(None, creationTimestamp="2026-11-28T11:00:00Z", **metadata)
    assert cause in found.cause
    assert remedy in found.remedy
