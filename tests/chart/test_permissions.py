"""What both ServiceAccounts may do, asked of the API server: every verb of every resource it serves, against a list.

`permissions.txt` is what the chart gives them, no more and no less; a change of the chart's rights is a change of that
file. What Kubernetes gives to every ServiceAccount differs from release to release and is not in the list.

Every verb of every resource is asked for one way of `rbac.secrets`. For the others the API server lists the rules that
hold, which takes a second instead of half a minute.
"""

import base64
import contextlib
import difflib
import http.client
import itertools
import json
import ssl
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from cluster_rig.clients import Client
from cluster_rig.control_plane import ControlPlane
from support.waiting import eventually

from chart.release import CHART, NAMESPACE, RELEASE, Render
from o365mailer_contract.names import SECRETS_ROLE, grant_command

LIST = Path(__file__).parent / "permissions.txt"
ROLES = ("controller", "webhook")
NEW = "system:serviceaccount:default:new"
"""A ServiceAccount that nothing was granted to: what it may do, every ServiceAccount may do."""
EVERYWHERE = ""
ELSEWHERE = "team-a"
TEAM = "team-b"
NAMES = ("", "admission.o365mailer.dev", "o365mailer-webhook-ca", "o365mailer-controller", "any-other")
"""No name: all objects; the names that the chart's rules speak of; one that none of them does."""

SPECIAL = {
    "escalate": ("roles.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io"),
    "bind": ("roles.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io"),
    "impersonate": ("users", "groups", "serviceaccounts", "uids.authentication.k8s.io"),
    "approve": ("signers.certificates.k8s.io",),
    "sign": ("signers.certificates.k8s.io",),
}
"""Verbs that discovery does not tell (Kubernetes, "Privilege escalation prevention", "User impersonation")."""


class Question(NamedTuple):
    """May this role do this?"""

    role: str
    namespace: str
    verb: str
    resource: str
    name: str

    def __str__(self) -> str:
        where = self.namespace or "everywhere"
        return f"{self.role} {where} {self.verb} {self.resource}{' ' if self.name else ''}{self.name}"


def served(plane: ControlPlane) -> Iterator[tuple[str, str, bool]]:
    """Every (verb, resource.group, namespaced) of the API server, subresources included."""
    groups = json.loads(plane.kubectl("get", "--raw", "/apis"))["groups"]
    paths = ["/api/v1", *(f"/apis/{version['groupVersion']}" for group in groups for version in group["versions"])]
    for path in paths:
        document = json.loads(plane.kubectl("get", "--raw", path))
        group = document["groupVersion"].rpartition("/")[0]
        for resource in document["resources"]:
            for verb in resource["verbs"]:
                yield verb, f"{resource['name']}.{group}".rstrip("."), resource["namespaced"]
    for verb, resources in SPECIAL.items():
        for name in resources:
            yield verb, name, name.startswith(("roles.", "serviceaccounts"))


class Reviewer:
    """Asks SubjectAccessReviews over one kept connection, as the cluster's administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        document = json.loads(kubeconfig.read_text(encoding="utf-8"))
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        pair = kubeconfig.with_suffix(".pair")
        pair.write_bytes(b"".join(base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")))
        context.load_cert_chain(pair)
        address = urllib.parse.urlsplit(cluster["server"])
        self.connection = http.client.HTTPSConnection(address.hostname or "", address.port, context=context)

    def allows(self, question: Question, account: str = "") -> bool:
        """Whether the role's ServiceAccount, or the given one, may do it."""
        resource, _, group = question.resource.partition(".")
        resource, _, subresource = resource.partition("/")
        attributes = {"verb": question.verb, "group": group, "resource": resource, "subresource": subresource}
        attributes |= {"namespace": question.namespace, "name": question.name}
        account = account or f"system:serviceaccount:{NAMESPACE}:o365mailer-{question.role}"
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{account.split(':')[2]}", "system:authenticated"]
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": account, "groups": groups, "resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        self.connection.request("POST", path, json.dumps(review), {"Content-Type": "application/json"})
        answer = json.loads(self.connection.getresponse().read())
        return bool(answer["status"]["allowed"])


def allowed_to(plane: ControlPlane, role: str) -> Iterator[Question]:
    """The widest of each right: what is allowed everywhere is not asked again for a namespace, nor for a name.

    Without the rights of every ServiceAccount.
    """
    reviewer = Reviewer(plane.kubeconfig)
    for verb, resource, namespaced in sorted(set(served(plane))):
        granted: list[tuple[str, str]] = []
        namespaces = (EVERYWHERE, NAMESPACE, ELSEWHERE) if namespaced else (EVERYWHERE,)
        for namespace, name in itertools.product(namespaces, NAMES):
            wider = {(EVERYWHERE, ""), (EVERYWHERE, name), (namespace, "")}
            question = Question(role, namespace, verb, resource, name)
            if wider.isdisjoint(granted) and reviewer.allows(question):
                granted.append((namespace, name))
                if not reviewer.allows(question, NEW):
                    yield question


def sweep(plane: ControlPlane) -> list[str]:
    """What both ServiceAccounts may do, as lines of the list."""
    with ThreadPoolExecutor(len(ROLES)) as pool:
        found = list(pool.map(lambda role: [str(question) for question in allowed_to(plane, role)], ROLES))
    return sorted(itertools.chain(*found))


def committed(way: str) -> list[str]:
    """What the list says of one way of `rbac.secrets`, without that column."""
    lines = [line.split() for line in LIST.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return sorted(" ".join([role, *right]) for role, of, *right in lines if of in {"any", way})


def rules(plane: ControlPlane, account: str, namespace: str) -> set[tuple[str, str, str]]:
    """Verb, resource and name of every right that an account has in a namespace. Nothing is told of other paths."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    command = ("create", "-f", "-", "-o", "json", "--validate=false", f"--as={account}")
    told = plane.kubectl(*command, stdin=json.dumps(review))
    status = json.loads(told)["status"]
    assert not status["incomplete"]
    return {
        (verb, f"{resource}.{group}".rstrip("."), name)
        for rule in status["resourceRules"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
        for group in rule["apiGroups"]
        for name in rule.get("resourceNames") or [""]
    }


def reviewed(plane: ControlPlane) -> list[str]:
    """What both ServiceAccounts may do by the API server's own list of rules, as lines of the list."""
    found = []
    for role in ROLES:
        account = f"system:serviceaccount:{NAMESPACE}:o365mailer-{role}"
        everywhere = rules(plane, account, ELSEWHERE)
        for namespace in (EVERYWHERE, NAMESPACE, TEAM):
            held = everywhere if namespace == EVERYWHERE else rules(plane, account, namespace) - everywhere
            held -= rules(plane, NEW, namespace or ELSEWHERE)
            wide = {right for right in everywhere | held if not right[2]}
            # A right on all objects of a kind holds for each name, too.
            found += [
                str(Question(role, namespace, *right))
                for right in held
                if right in wide or (*right[:2], "") not in wide
            ]
    return sorted(found)


def difference(wanted: list[str], found: list[str]) -> str:
    """Empty if they are equal."""
    return "\n".join(difflib.unified_diff(wanted, found, "permissions.txt", "the API server", lineterm="", n=0))


def becomes(plane: ControlPlane, wanted: list[str]) -> None:
    """The authorizer learns of roles and bindings from its watch, a moment later."""
    with contextlib.suppress(AssertionError):
        eventually(lambda: reviewed(plane) == wanted, within=10)
    assert not difference(wanted, reviewed(plane))


@pytest.mark.timeout(300)
@pytest.mark.promise("least-rights")
def test_both_service_accounts_may_do_exactly_what_the_list_says(installed: Client, plane: ControlPlane) -> None:
    wanted = len([line for line in committed("cluster") if " o365mailers" in line])
    assert wanted, "the list names our own resource, so the sweep must have found it served"
    plane.kubectl("wait", "crd/o365mailers.o365mailer.dev", "--for=condition=Established")
    assert not difference(committed("cluster"), sweep(plane))
    assert "secrets" in difference(committed("namespaces"), committed("cluster"))


@pytest.mark.promise("least-rights")
def test_with_watched_namespaces_they_may_do_exactly_what_the_list_says(installed: Client, plane: ControlPlane) -> None:
    installed("upgrade", RELEASE, CHART, "--namespace", NAMESPACE, "--set", f"watchNamespaces={{{TEAM}}}")
    becomes(plane, committed("namespaces"))


@pytest.mark.promise("least-rights")
def test_where_secrets_are_granted_the_administrator_of_a_namespace_gives_the_rights_with_the_very_command(
    installed: Client, plane: ControlPlane
) -> None:
    installed("upgrade", RELEASE, CHART, "--namespace", NAMESPACE, "--set", "rbac.secrets=granted")
    ungranted = [line for line in committed("granted") if f" {TEAM} " not in line]
    becomes(plane, ungranted)

    plane.kubectl("create", "rolebinding", "admin", "--clusterrole=admin", "--user=anna", f"--namespace={TEAM}")
    program, *command = grant_command(namespace=TEAM, operator=NAMESPACE).split()
    assert program == "kubectl"
    try:
        eventually(lambda: plane.kubectl.process(*command, "--as=anna").returncode == 0)
        becomes(plane, committed("granted"))
    finally:
        plane.kubectl("delete", "rolebinding", "admin", SECRETS_ROLE, f"--namespace={TEAM}", "--ignore-not-found")


@pytest.mark.promise("least-rights")
def test_tokens_of_service_accounts_that_the_values_name_may_be_requested_and_of_no_others(
    installed: Client, plane: ControlPlane
) -> None:
    named = [f"workloadIdentity.serviceAccounts[0].{part}" for part in (f"namespace={TEAM}", "name=noreply")]
    sets = [part for each in named for part in ("--set", each)]
    installed("upgrade", RELEASE, CHART, "--namespace", NAMESPACE, *sets)
    listed = set(committed("identity")) - set(committed("any"))
    account = f"system:serviceaccount:{NAMESPACE}:o365mailer-controller"

    def added() -> set[str]:
        found = rules(plane, account, TEAM) - rules(plane, account, ELSEWHERE)
        return {str(Question("controller", TEAM, *right)) for right in found}

    assert len(listed) == 2
    eventually(lambda: added() == listed, within=30)


@pytest.mark.promise("least-rights")
def test_no_right_of_the_chart_is_for_every_service_account(render: Render) -> None:
    """The sweep leaves out what every ServiceAccount may do, so the chart must not be what grants it."""
    objects = [*render(), *render("watchNamespaces={team-b}"), *render("rbac.secrets=granted")]
    bindings = [each for each in objects if each["kind"] in {"RoleBinding", "ClusterRoleBinding"}]
    subjects = [subject for binding in bindings for subject in binding["subjects"]]
    assert {(subject["kind"], subject["namespace"]) for subject in subjects} == {("ServiceAccount", NAMESPACE)}


@pytest.mark.promise("least-rights")
def test_with_watched_namespaces_the_secrets_of_no_other_namespace_can_be_read(
    installed: Client, plane: ControlPlane
) -> None:
    installed("upgrade", RELEASE, CHART, "--namespace", NAMESPACE, "--set", "watchNamespaces={team-b}")
    reviewer = Reviewer(plane.kubeconfig)

    def may(namespace: str, verb: str, name: str = "") -> bool:
        return reviewer.allows(Question("controller", namespace, verb, "secrets", name))

    assert may("team-b", "get", "noreply-credential")
    assert not may(ELSEWHERE, "get", "noreply-credential")
    assert not may(EVERYWHERE, "get")
    assert not may("team-b", "list")
    assert may(NAMESPACE, "get", "o365mailer-webhook-ca")
    assert not may(NAMESPACE, "get", "any-other")


@pytest.mark.promise("least-rights")
def test_a_user_who_may_edit_a_namespace_may_edit_its_mailers_and_not_their_status(
    installed: Client, plane: ControlPlane
) -> None:
    for role in ("view", "edit"):
        plane.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}er", "-n", ELSEWHERE)

    def may(user: str, verb: str, resource: str, subresource: str = "") -> bool:
        where = (f"--as={user}", "--namespace", ELSEWHERE, f"--subresource={subresource}")
        return plane.kubectl.process("auth", "can-i", verb, resource, *where).stdout.strip() == "yes"

    try:
        eventually(lambda: may("editer", "create", "o365mailers.o365mailer.dev"))
        assert may("viewer", "list", "o365mailers.o365mailer.dev")
        assert not may("viewer", "create", "o365mailers.o365mailer.dev")
        assert not may("viewer", "get", "secrets")
        assert may("viewer", "get", "o365mailers.o365mailer.dev", "status")
        assert not may("editer", "patch", "o365mailers.o365mailer.dev", "status")
    finally:
        plane.kubectl("delete", "rolebinding", "view", "edit", "--namespace", ELSEWHERE)
