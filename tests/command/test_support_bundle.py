"""The bundle has what a person who helps needs, and nothing that was planted anywhere in the cluster."""

import ast
import base64
import json
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster.record import Record
from cluster_rig.control_plane import ControlPlane
from support.controller_process import ControllerProcess
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire

from command.team import Ask, Team, condition, moment, write_kubeconfig
from o365mailer_cli.check.schema import needed_members
from o365mailer_cli.support_bundle.content import concerns, names_of
from o365mailer_cli.support_bundle.logs import EVENTS, FIELDS, MESSAGES, kept_fields, kept_lines
from o365mailer_cli.support_bundle.metrics import kept_samples
from o365mailer_cli.support_bundle.records import SPEC, mailer_record, pod_record
from o365mailer_cli.support_bundle.text import Scrubber, phrases

SECRET = "canary~Q8.client-secret_of-no-worth~"
TOKEN = "eyJhbGciOiJub25lIn0.eyJjYW5hcnkiOiJubyB0b2tlbiJ9.c2lnbmF0dXJlLW9mLW5vLXdvcnRo"
BODY = "Dear customer, your canary invoice is overdue"
MAILBOX = "canary.mailbox@contoso.example"
SENDER = "canary.sender@fabrikam.example"
REDIRECT = "canary.redirect@contoso.example"
CANARIES = {
    "secret": SECRET,
    "token": TOKEN,
    "body": BODY,
    "mailbox": MAILBOX,
    "sender": SENDER,
    "redirect": REDIRECT,
}


def bundle(path: Path) -> dict[str, str]:
    """The files of a bundle, without its folder."""
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            stream = archive.extractfile(member)
            assert stream is not None
            found[member.name.partition("/")[2]] = stream.read().decode()
        return found


def leaks(texts: dict[str, str], **more: str) -> list[str]:
    """Which canary is in which text, in any of its forms."""
    record = Record(texts=texts)
    record.forbid({**CANARIES, **more})
    return record.leaks()


def planted(team: Team) -> None:
    """Canaries in every place where a careless or hostile user could put one."""
    every = " ".join([SECRET, TOKEN, BODY, MAILBOX, SENDER, REDIRECT])
    encoded = base64.b64encode(every.encode()).decode()
    status = {"mailer": "noreply", "ports": [25, SECRET], "healthPort": 9025, "notes": [every], "spool": {"x": every}}
    annotations = {
        "o365mailer.dev/inject": "noreply",
        "o365mailer.dev/status": json.dumps(status),
        "kubectl.kubernetes.io/last-applied-configuration": encoded,
        "example.com/note": every,
    }
    variables = [{"name": "PASSWORD", "value": every}, {"name": "O365MAILER_LISTEN", "value": SECRET}]
    container = {"image": "app", "env": variables, "args": [every], "command": ["sh", "-c", encoded]}
    team.kubectl.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "entra"}, "stringData": {"secret": every}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "labels": {"o365mailer.dev/mailer": "noreply"}, "annotations": annotations},
            "spec": {
                "initContainers": [{"name": "o365mailer", "restartPolicy": "Always", **container}],
                "containers": [{"name": "app", **container}],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "planted", "annotations": {"note": every}},
            "involvedObject": {"kind": "Pod", "name": "web", "namespace": team.namespace},
            "reason": "Failed",
            "type": "Warning",
            "message": f"connection refused: {every} {encoded}",
            "lastTimestamp": moment(seconds=5),
        },
        namespace=team.namespace,
    )
    state = {
        "terminated": {
            "exitCode": 1,
            "reason": "Error",
            "message": f"Timeout (0:01:00)! {every}",
            "startedAt": moment(),
            "finishedAt": moment(),
        }
    }
    relay = {"name": "o365mailer", "image": "app", "imageID": "", "ready": False, "restartCount": 1, "state": state}
    team.patch_status("pod", "web", {"phase": "Running", "initContainerStatuses": [relay]})
    message = f"the Secret entra cannot be used: {MAILBOX}, {TOKEN}, {SECRET}, {encoded}"
    team.mailer(
        "noreply",
        condition("Ready", "False", "SecretKeyMissing", message),
        condition("Foreign", "True", "Planted", every),
        mailbox=MAILBOX,
        senders={"allowed": [SENDER, "@fabrikam.example"]},
        recipients={"redirectTo": REDIRECT},
        delivery={"notify": SENDER},
    )
    team.kubectl("annotate", "o365mailer", "noreply", f"example.com/note={every}", "-n", team.namespace)


@pytest.mark.promise("bundle-holds-no-secret")
def test_nothing_that_was_planted_is_in_the_bundle(ask: Ask, team: Team, tmp_path: Path) -> None:
    planted(team)
    kinds = "pods,events,secrets,o365mailers.o365mailer.dev"
    raw = team.kubectl("get", kinds, "-n", team.namespace, "-o", "json")
    assert {each.partition(" in ")[0] for each in leaks({"cluster": raw})} == set(CANARIES)  # the scan finds each
    path = tmp_path / "bundle.tar.gz"
    told = ask("support-bundle", "-n", team.namespace, "--file", str(path), "-o", "json")
    assert (told.status, told.err) == (0, ""), told
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    files = bundle(path)
    assert set(files) == set(told.json["files"])
    assert leaks({**files, "output": told.out}) == []
    assert "canary" not in "".join(files.values())

    (mailer,) = json.loads(files["mailers.json"])
    spec, mailbox = mailer["spec"], mailer["spec"]["mailbox"]
    sender, redirect = spec["delivery"]["notify"], spec["recipients"]["redirectTo"]
    assert spec["senders"]["allowed"] == [sender, "<domain-1>"]
    assert {mailbox, sender, redirect} == {"<address-1>", "<address-2>", "<address-3>"}
    assert mailer["status"]["conditions"][0]["message"].startswith(f"the Secret entra cannot be used: {mailbox}")
    # Another test may have left an operator, whose pods are in the bundle, too.
    (pod,) = [each for each in json.loads(files["pods.json"]) if each["metadata"]["namespace"] == team.namespace]
    assert pod["relayState"]["ended"]["phrases"] == ["Timeout (0:01:00)!"]
    events = [each for each in json.loads(files["events.json"]) if each["reason"] == "Failed"]
    assert events[0]["phrases"] == ["connection refused"]
    assert "spec.recipients.redirectTo" in json.loads(files["crd-members.json"])
    names = {finding["name"] for group in json.loads(files["check.json"]) for finding in group["findings"]}
    assert {"api.version", "crd.schema", "mailer.ready"} <= names
    assert "What is left out" in files["README.txt"]


def test_addresses_stay_if_the_user_says_so(ask: Ask, team: Team, tmp_path: Path) -> None:
    planted(team)
    path = tmp_path / "bundle.tar.gz"
    ask("support-bundle", "-n", team.namespace, "--file", str(path), "--with-addresses")
    files = bundle(path)
    assert json.loads(files["mailers.json"])[0]["spec"]["mailbox"] == MAILBOX
    wrong = [each for each in leaks(files) if each.split()[0] in ("secret", "token", "body")]
    assert wrong == []
    assert "--with-addresses was given" in files["README.txt"]


def test_what_cannot_be_read_is_said(
    ask: Ask, cluster: ControlPlane, team: Team, user: Callable[..., Path], tmp_path: Path
) -> None:
    team.mailer("noreply")
    path = tmp_path / "bundle.tar.gz"
    told = ask("support-bundle", "-n", team.namespace, "--file", str(path), kubeconfig=user("o365mailer-viewer"))
    assert told.status == 0, told
    files = bundle(path)
    problems = {each["what"]: each["why"] for each in json.loads(files["problems.json"])}
    assert problems["nodes"] == "no right: ask for the ClusterRole o365mailer-viewer"
    assert "mailers" not in problems
    assert len(json.loads(files["mailers.json"])) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--file", "{folder}/taken"], "exists already. Name another --file, or remove it."),
        (["--file", "{folder}/none/bundle"], "cannot be written: No such file or directory. Name another --file."),
        (["--log-lines", "0"], "'0' is not a number from 1 to 100000"),
        (["noreply", "-A"], "A mailer's name goes with -n, not with -A"),
    ],
)
def test_wrong_input(ask: Ask, tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "taken").touch()
    told = ask("support-bundle", *[each.replace("{folder}", str(tmp_path)) for each in arguments])
    assert told.status == 2
    assert words in told.err
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


def test_no_file_is_left_if_the_cluster_does_not_answer(ask: Ask, cluster: ControlPlane, tmp_path: Path) -> None:
    away = write_kubeconfig(tmp_path / "away", cluster, {"token": "none"}, server="https://127.0.0.1:9")
    told = ask("support-bundle", "--file", str(tmp_path / "bundle.tar.gz"), kubeconfig=away)
    assert told.status == 2
    assert "cannot be reached" in told.err
    assert not (tmp_path / "bundle.tar.gz").exists()


PLANTED = [
    json.dumps({"time": "2026-11-28T12:00:00.000Z", "event": "message", "reason": SECRET, "to": MAILBOX, "code": 250}),
    json.dumps(
        {"time": SECRET, "event": "upstream_away", "reason": f"connection refused by {SENDER}", "queue_id": TOKEN}
    ),
    json.dumps({"event": SECRET, "message": BODY, "level": BODY}),
    json.dumps({"message": "no token", "error": f"{BODY}: not found", "mailer": f"x/{MAILBOX}", SECRET: 1}),
    f"Traceback: {TOKEN}",
    json.dumps([SECRET]),
]


@pytest.mark.promise("bundle-holds-no-secret")
def test_of_a_hostile_log_only_known_fields_of_known_forms_stay() -> None:
    assert leaks({"log": "\n".join(PLANTED)})
    kept, dropped = kept_lines("\n".join(PLANTED))
    assert leaks({"log": "\n".join(kept)}) == []
    assert dropped == 3
    assert json.loads(kept[0]) == {"time": "2026-11-28T12:00:00.000Z", "event": "message", "code": 250}
    assert json.loads(kept[1]) == {"event": "upstream_away", "reasonPhrases": ["connection refused"]}
    assert json.loads(kept[2]) == {"message": "no token", "errorPhrases": ["not found"]}


def test_every_line_of_a_real_relay_stays(emulator: EmulatorClient, tmp_path: Path) -> None:
    directory = MailerDirectory(tmp_path / "mailer")
    directory.write_for(emulator)
    with Sidecar(directory.path) as relay:
        wire = Wire(relay.port)
        wire.socket.close()
        relay.events("mailer_read")
        relay.event("mailer_read")
        lines = [json.dumps(line) for line in relay.log]
    kept, dropped = kept_lines("\n".join(lines))
    assert (len(kept), dropped) == (len(lines), 0), [line for line in lines if not kept_fields(line)]


def test_every_line_of_a_real_controller_stays(cluster: ControlPlane, namespace: str) -> None:
    arguments = ["--namespace", namespace, "--watch-namespace", namespace]
    with ControllerProcess(kubeconfig=cluster.kubeconfig, arguments=arguments) as process:
        process.wait_until_leading()
        lines = [json.dumps(line) for line in process.lines()]
    kept, dropped = kept_lines("\n".join(lines))
    assert dropped == 0, [line for line in lines if "message" not in kept_fields(line)]
    assert len(kept) == len(lines)


def test_of_a_hostile_page_of_metrics_only_numbers_and_known_labels_stay() -> None:
    page = "\n".join(
        [
            f'o365mailer_blocked{{outcome="locked",reason="{SECRET}"}} 1',
            'o365mailer_blocked{outcome="unauthorized",reason="no-right"} 1',
            f"o365mailer_spool_messages {TOKEN}",
            f'hostile_metric{{body="{BODY}"}} 1',
            f'o365mailer_relay_info{{version="{MAILBOX}"}} 1',
            "o365mailer_settings_revision 14",
        ]
    )
    assert kept_samples(page) == [
        'o365mailer_blocked{outcome="locked",reason="?"} 1',
        'o365mailer_blocked{outcome="unauthorized",reason="no-right"} 1',
        'o365mailer_relay_info{version="?"} 1',
        "o365mailer_settings_revision 14",
    ]


def test_every_text_of_a_spec_has_a_form_or_is_an_address() -> None:
    """A member that a later version adds is left out until a form is chosen for it."""
    known = {each.rpartition(".")[2] for each in needed_members()}
    assert set(SPEC) <= known | {"name", "key"}
    record = mailer_record({"metadata": {"name": "x"}, "spec": {"later": SECRET, "logLevel": "info"}}, Scrubber())
    assert record["spec"] == {"later": "[left out]", "logLevel": "info"}


def test_one_address_has_one_placeholder_in_all_its_forms() -> None:
    scrubber = Scrubber()
    assert scrubber.address("Jane@Contoso.com") == "<address-1>"
    assert scrubber.text("jane@contoso.com and jane%40contoso.com, not joe@contoso.com.") == (
        "<address-1> and <address-1>, not <address-2>"
    )


@pytest.mark.parametrize(
    "harmless",
    [
        "The Secret noreply-entra has no key client-secret.",
        "AADSTS7000215: the client secret is not valid. [correlation id 11111111-2222-4333-8444-555555555555]",
        "no answer from login.microsoftonline.com within 10 s",
    ],
)
def test_what_a_helper_needs_stays_readable(harmless: str) -> None:
    assert Scrubber().text(harmless) == harmless


@pytest.mark.parametrize(
    "secret", [SECRET, TOKEN, base64.b64encode(BODY.encode()).decode(), "abC8Q~kd93JF_x.1aZ0-q9wErTy"]
)
def test_what_looks_like_a_secret_is_removed(secret: str) -> None:
    assert Scrubber().text(f"it was {secret} there") == "it was [removed] there"


def test_phrases_are_those_of_the_table() -> None:
    assert phrases(f"{BODY}: Connection refused; exceeded quota: x") == ["connection refused", "exceeded quota"]


def test_the_vocabulary_of_the_logs_is_that_of_the_programs() -> None:
    events, messages = written_in_the_sources()
    assert events <= EVENTS, events - EVENTS
    assert messages <= MESSAGES, messages - MESSAGES
    assert {"event", "message", "time"} <= FIELDS.keys()


def test_events_of_other_objects_are_left_out() -> None:
    owner = {"kind": "ReplicaSet", "name": "web-abc12", "controller": True}
    metadata = {
        "name": "web-1",
        "namespace": "shop",
        "ownerReferences": [owner],
        "labels": {"pod-template-hash": "abc12"},
    }

    def wanted(kind: str, name: str, namespace: str = "shop", message: str = "") -> bool:
        event = {
            "metadata": {"namespace": namespace},
            "involvedObject": {"kind": kind, "name": name},
            "message": message,
        }
        return concerns(event, names_of([{"metadata": metadata}]))

    assert wanted("Pod", "web-1")
    assert wanted("ReplicaSet", "web-abc12")
    assert wanted("Deployment", "web")
    assert wanted("O365Mailer", "noreply", "billing")
    assert wanted(
        "ReplicaSet", "other", "billing", 'admission webhook "pods.admission.o365mailer.dev" denied the request'
    )
    assert not wanted("Pod", "other")
    assert not wanted("Pod", "web-1", "billing")


def test_a_pod_of_no_form_is_no_failure() -> None:
    hostile: dict[str, Any] = {
        "metadata": {
            "name": "x",
            "namespace": "y",
            "annotations": {"o365mailer.dev/status": '{"ports": "no", "notes": 1}'},
        },
        "spec": {},
    }
    assert pod_record(hostile)["ports"] == []


def written_in_the_sources() -> tuple[set[str], set[str]]:
    """The events of the relay and the messages of the operator, as their sources have them."""
    root = Path(__file__).parents[2]
    events: set[str] = set()
    messages: set[str] = set()
    for path in [*(root / "sidecar").rglob("*.py"), *(root / "operator").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called, method = ast.unparse(node.func.value), node.func.attr
            if method in ("event", "failure"):
                events |= texts(node.args[0])
            elif called in ("log", "LOGGER") and method in LEVELS:
                messages |= texts(node.args[method == "log"])
    return events, messages


LEVELS = ("debug", "info", "warning", "error", "exception", "log")


def texts(node: ast.expr) -> set[str]:
    """The literal texts of an argument: one, or two of a choice."""
    if isinstance(node, ast.IfExp):
        return texts(node.body) | texts(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()
