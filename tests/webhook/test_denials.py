"""Every mistake in a pod's annotations is refused, with what is wrong, where, and the fix."""

import pathlib

import pytest
from webhook.examples import Manifest, app, denial, injected, pod, sidecar, verdict

from o365mailer_contract import names
from o365mailer_operator.webhook.verdict import DOCUMENTATION, Denial, Reason

INJECT, PORTS, HEALTH = names.INJECT_ANNOTATION, names.PORTS_ANNOTATION, names.HEALTH_PORT_ANNOTATION
SPOOL = names.SPOOL_ANNOTATION
SYSCTLS = {"securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "1024"}]}}
NAME_FIX = (
    "write the name of an O365Mailer in namespace shop, at most 40 of a-z, 0-9 and '-', beginning and ending with a "
    "letter or digit"
)

CASES: list[tuple[Reason, Manifest, str]] = [
    (
        Reason.MAILER_EMPTY,
        pod({INJECT: ""}),
        (
            "annotation o365mailer.dev/inject is empty: write the name of an O365Mailer in namespace shop, or remove "
            "the annotation"
        ),
    ),
    (
        Reason.MAILER_NAME_INVALID,
        pod({INJECT: "No_Reply"}),
        f"annotation o365mailer.dev/inject is 'No_Reply', which cannot be a mailer's name: {NAME_FIX}",
    ),
    (
        Reason.CLUSTER_MAILER_UNAVAILABLE,
        pod({INJECT: "cluster/noreply"}),
        (
            "annotation o365mailer.dev/inject is 'cluster/noreply': mailers shared by the whole cluster are not "
            "available in this version; create an O365Mailer in namespace shop and write its name"
        ),
    ),
    (
        Reason.PORTS_INVALID,
        pod({PORTS: "70000"}),
        (
            "annotation o365mailer.dev/ports is '70000': write different port numbers from 1 to 65535, separated by "
            'commas, such as "25,587" or "2525"'
        ),
    ),
    (
        Reason.PORT_TAKEN,
        pod(spec=app(ports=[{"containerPort": 25}])),
        (
            "port 25, where the sidecar takes mail, is declared by container app: set annotation o365mailer.dev/ports "
            'to free ports, such as "2525", and send mail there, or change the container\'s port'
        ),
    ),
    (
        Reason.HEALTH_PORT_INVALID,
        pod({HEALTH: "http"}),
        "annotation o365mailer.dev/health-port is 'http': write one port number from 1 to 65535, such as \"9025\"",
    ),
    (
        Reason.HEALTH_PORT_TAKEN,
        pod(spec=app(ports=[{"containerPort": 9025}])),
        (
            "port 9025, where the sidecar serves its health and metrics, is taken by container app: set annotation "
            "o365mailer.dev/health-port to a free port"
        ),
    ),
    (
        Reason.SPOOL_INVALID,
        pod({SPOOL: "/var/spool"}),
        (
            "annotation o365mailer.dev/spool is '/var/spool': write ephemeral for a spool that ends with the pod, the "
            "name of a PersistentVolumeClaim in this namespace for one that outlives it, or none"
        ),
    ),
    (
        Reason.QUANTITY_INVALID,
        pod({f"{names.GROUP}/memory-limit": "lots"}),
        "annotation o365mailer.dev/memory-limit is 'lots': write a Kubernetes quantity, such as \"128Mi\"",
    ),
    (
        Reason.HOST_NETWORK,
        pod(spec={"hostNetwork": True}),
        (
            "the pod uses the node's network (hostNetwork: true), where the sidecar's ports would be open to "
            "everything on the node: remove hostNetwork, or annotation o365mailer.dev/inject"
        ),
    ),
    (
        Reason.WINDOWS,
        pod(spec={"os": {"name": "windows"}}),
        (
            "the pod runs on Windows and the sidecar is a Linux image: send mail from a Linux pod, and remove "
            "annotation o365mailer.dev/inject here"
        ),
    ),
    (
        Reason.SYSCTL_TOO_HIGH,
        pod(spec=SYSCTLS),
        (
            "the pod sets sysctl net.ipv4.ip_unprivileged_port_start to '1024', which forbids the sidecar port 25: set "
            "it to 25 or less, remove it, or set annotation o365mailer.dev/ports to ports from 1024 up"
        ),
    ),
    (
        Reason.VOLUME_NAME_TAKEN,
        pod(spec={"volumes": [{"name": "o365mailer-scratch"}]}),
        "the pod has a volume named o365mailer-scratch, which is the sidecar's: give your volume another name",
    ),
    (
        Reason.CONTAINER_NAME_TAKEN,
        pod(spec={"initContainers": [{"name": "o365mailer", "image": "theirs"}]}),
        (
            "the pod has a container named o365mailer, which is the sidecar's name: give your container another name, "
            "or remove annotation o365mailer.dev/inject; in a manifest copied from an injected pod, remove the "
            "container"
        ),
    ),
    (
        Reason.LABEL_DIFFERS,
        pod(labels={names.MAILER_LABEL: "billing"}),
        (
            "label o365mailer.dev/mailer is 'billing' and annotation o365mailer.dev/inject is 'noreply': remove the "
            "label, the sidecar's injection sets it"
        ),
    ),
]


@pytest.mark.promise("broken-annotation-explained")
@pytest.mark.parametrize(("reason", "manifest", "message"), CASES, ids=[case[0] for case in CASES])
def test_the_denial_says_what_is_wrong_and_how_to_fix_it(reason: Reason, manifest: Manifest, message: str) -> None:
    refusal = denial(manifest)
    assert (refusal.reason, refusal.message) == (reason, message)


@pytest.mark.parametrize("name", ["-a", "a-", "a.b", "a b", "A", "ä", "a" * 41, " a", "a\n", "../x", "other/x"])
def test_names_that_no_mailer_can_have(name: str) -> None:
    assert denial(pod({INJECT: name})).reason is Reason.MAILER_NAME_INVALID


@pytest.mark.parametrize("ports", ["", ",", "0", "65536", "25,", "25,25", "+25", "25;587", "٢٥", "1" * 40, "smtp"])
def test_ports_that_cannot_be(ports: str) -> None:
    assert denial(pod({PORTS: ports})).reason is Reason.PORTS_INVALID


@pytest.mark.parametrize("port", ["", "0", "65536", "9025,9026", "-1"])
def test_health_ports_that_cannot_be(port: str) -> None:
    assert denial(pod({HEALTH: port})).reason is Reason.HEALTH_PORT_INVALID


@pytest.mark.parametrize(
    "spool", ["", " ", "Ephemeral", "outbox ", "a/b", ".a", "a.", "a..b", "-a", "a_b", "ä", "a\n", "a" * 254]
)
def test_spools_that_cannot_be(spool: str) -> None:
    assert denial(pod({SPOOL: spool})).reason is Reason.SPOOL_INVALID


def test_a_volume_with_the_spools_name_is_refused_where_there_is_a_spool() -> None:
    theirs = {"volumes": [{"name": "o365mailer-spool", "emptyDir": {}}]}
    assert "a volume named o365mailer-spool" in denial(pod({SPOOL: "ephemeral"}, spec=theirs)).message


def test_a_port_asked_for_by_annotation_is_not_left_out_silently() -> None:
    assert denial(pod({PORTS: "25,587"}, spec=app(ports=[{"containerPort": 587}]))).reason is Reason.PORT_TAKEN


def test_a_port_of_an_init_container_is_taken_too() -> None:
    init = {"name": "relay", "ports": [{"containerPort": 25}]}
    assert "declared by container relay" in denial(pod(spec={"initContainers": [init]})).message


def test_the_health_port_cannot_be_a_mail_port() -> None:
    assert "is taken by the mail port" in denial(pod({PORTS: "2525", HEALTH: "2525"})).message


def node(*terms: list[tuple[str, str, list[str]]]) -> Manifest:
    """Parts of a spec: a required node affinity of these terms of (label, operator, values)."""
    selector = [
        {"matchExpressions": [{"key": key, "operator": operator, "values": values} for key, operator, values in term]}
        for term in terms
    ]
    return {
        "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": selector}}
        }
    }


OS, OLD_OS, ZONE = "kubernetes.io/os", "beta.kubernetes.io/os", ("topology.kubernetes.io/zone", "In", ["a"])
BUILD = "node.kubernetes.io/windows-build"
HOST_PROCESS = {"windowsOptions": {"hostProcess": True, "runAsUserName": "NT AUTHORITY\\SYSTEM"}}
WINDOWS: dict[str, Manifest] = {
    "os": {"os": {"name": "windows"}},
    "label": {"nodeSelector": {OS: "windows"}},
    "old label": {"nodeSelector": {OLD_OS: "windows"}},
    "affinity": node([(OS, "In", ["windows"])]),
    "affinity by the old label, among others": node([ZONE, (OLD_OS, "In", ["windows"])]),
    "affinity in each of its terms": node([(OS, "In", ["windows"])], [ZONE, (OS, "In", ["windows"])]),
    "label of Windows nodes": {"nodeSelector": {BUILD: "10.0.20348"}},
    "affinity by the label of Windows nodes": node([(BUILD, "In", ["10.0.20348"])], [(BUILD, "Exists", [])]),
    "HostProcess": {"hostNetwork": True, "securityContext": HOST_PROCESS},
    "HostProcess of a container": {"hostNetwork": True, **app(securityContext=HOST_PROCESS)},
    "HostProcess of an init container": {"initContainers": [{"name": "a", "securityContext": HOST_PROCESS}]},
}
NOT_WINDOWS: dict[str, Manifest] = {
    "os": {"os": {"name": "linux"}},
    "label": {"nodeSelector": {OS: "linux", OLD_OS: "linux"}},
    "another label": {"nodeSelector": {"os": "windows"}},
    "not on Windows": node([(OS, "NotIn", ["windows"])]),
    "on either": node([(OS, "In", ["windows", "linux"])]),
    "Windows in one of the terms": node([(OS, "In", ["windows"])], [(OS, "In", ["linux"])]),
    "any Windows in one of the terms": node([(OS, "In", ["windows"])], [ZONE]),
    "a term of nothing": node([(OS, "In", ["windows"])], []),
    "the label exists": node([(OS, "Exists", [])]),
    "no Windows node": node([(BUILD, "DoesNotExist", [])]),
    "another build": node([(BUILD, "NotIn", ["10.0.17763"])]),
    "no terms": node(),
    "preferred": {
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "preference": {"matchExpressions": [{"key": OS, "operator": "In", "values": ["windows"]}]},
                    }
                ]
            }
        }
    },
    "no HostProcess": {"securityContext": {"windowsOptions": {"hostProcess": False, "gmsaCredentialSpecName": "x"}}},
    "nulls": {"affinity": {"nodeAffinity": None}, "securityContext": {"windowsOptions": None}},
}


@pytest.mark.promise("broken-annotation-explained")
@pytest.mark.parametrize("spec", WINDOWS.values(), ids=WINDOWS)
def test_a_pod_that_runs_on_windows_only_is_refused_as_that(spec: Manifest) -> None:
    """Before hostNetwork, which a HostProcess pod must have: "remove hostNetwork" would be no fix."""
    assert denial(pod(spec=spec)).reason is Reason.WINDOWS


@pytest.mark.parametrize("spec", NOT_WINDOWS.values(), ids=NOT_WINDOWS)
def test_a_pod_that_may_run_on_linux_is_injected(spec: Manifest) -> None:
    assert sidecar(injected(pod(spec=spec)))


FORBIDS = "the pod sets sysctl net.ipv4.ip_unprivileged_port_start to"


@pytest.mark.promise("broken-annotation-explained")
@pytest.mark.parametrize(
    ("value", "annotations", "message"),
    [
        ("26", {PORTS: "25"}, f"set it to 25 or less, remove it, or set annotation {PORTS} to ports from 26 up"),
        ("100", {}, f"port 25: set it to 25 or less, remove it, or set annotation {PORTS} to ports from 100 up"),
        (
            "2048",
            {PORTS: "1025"},
            f"port 1025: set it to 1025 or less, remove it, or set annotation {PORTS} to ports from 2048 up",
        ),
        ("2048", {PORTS: "2525,1025,1026"}, "forbids the sidecar port 1025: set it to 1025 or less"),
        (
            "10000",
            {PORTS: "12525"},
            f"port 9025: set it to 9025 or less, remove it, or set annotation {HEALTH} to ports from 10000 up",
        ),
        (
            "10000",
            {PORTS: "2525"},
            f"port 2525: set it to 2525 or less, remove it, or set annotation {PORTS} and {HEALTH} to ports from 10000",
        ),
        (
            "5000",
            {PORTS: "6000", HEALTH: "4999"},
            f"port 4999: set it to 4999 or less, remove it, or set annotation {HEALTH} to ports from 5000 up",
        ),
        ("high", {}, f"{FORBIDS} 'high': write a number from 0 to 65535, or remove it"),
        ("-1", {PORTS: "2525"}, f"{FORBIDS} '-1': write a number from 0 to 65535, or remove it"),
        ("65536", {}, f"{FORBIDS} '65536': write a number from 0 to 65535, or remove it"),
        ("٢٥", {}, "write a number from 0 to 65535, or remove it"),
        ("9" * 5000, {}, "write a number from 0 to 65535, or remove it"),
        ("0100", {}, f"{FORBIDS} '0100', which Linux does not read as decimal: write a number from 0 to 65535"),
    ],
)
def test_a_sysctl_that_forbids_a_port_is_refused_with_the_floor_that_it_sets(
    value: str, annotations: dict[str, str], message: str
) -> None:
    sysctls = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": value}]
    refusal = denial(pod(annotations, spec={"securityContext": {"sysctls": sysctls}}))
    assert refusal.reason is Reason.SYSCTL_TOO_HIGH
    assert message in refusal.message


@pytest.mark.parametrize(
    ("value", "annotations"),
    [
        ("0", {}),
        ("25", {}),
        ("1024", {PORTS: "1024"}),
        ("9025", {PORTS: "9026"}),
        ("65535", {PORTS: "65535", HEALTH: "65535"}),
    ],
)
def test_the_advice_about_the_sysctl_holds(value: str, annotations: dict[str, str]) -> None:
    """What the refusal says is enough is enough (the last: two ports of one number are refused for another reason)."""
    sysctls = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": value}]
    answer = verdict(pod(annotations, spec={"securityContext": {"sysctls": sysctls}}))
    assert not (isinstance(answer, Denial) and answer.reason is Reason.SYSCTL_TOO_HIGH)


def test_a_long_value_is_repeated_shortened() -> None:
    message = denial(pod({INJECT: "A" * 500})).message
    assert "A" * 60 + "…" in message
    assert "A" * 61 not in message


def test_every_reason_is_explained_to_users() -> None:
    page = (pathlib.Path(__file__).parents[2] / DOCUMENTATION).read_text(encoding="utf-8")
    assert [reason for reason in Reason if f"`{reason}`" not in page] == []
