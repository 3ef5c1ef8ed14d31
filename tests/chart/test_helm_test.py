"""What `helm test` installs, and its program against a real relay. tests/cluster runs it in a pod."""

import base64
import os
import subprocess
import sys
from pathlib import Path

from cluster_rig.control_plane import free_ports
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar

from chart.release import CHART, HELM_TEST, Render, of_kind

PROGRAM = CHART / "files" / "helm_test.py"
POLICIES = {"before-hook-creation", "hook-succeeded", "hook-failed"}


def ran(port: int, sender: str = "", recipient: str = "") -> tuple[int, str]:
    """The program's exit status and the last line that it printed."""
    environment = os.environ | {"PORT": str(port), "SENDER": sender, "RECIPIENT": recipient or sender}
    command = [sys.executable, "-I", "-c", PROGRAM.read_text(encoding="utf-8")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)
    return done.returncode, done.stdout.splitlines()[-1] + done.stderr


def test_without_a_mailer_a_relay_that_waits_for_one_passes(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with Sidecar(tmp_path / "empty") as relay:
        status, told = ran(relay.port)
    assert (status, told.partition(":")[0]) == (0, "passed")


def test_with_a_mailer_one_mail_reaches_office_365(tmp_path: Path, emulator: EmulatorClient) -> None:
    directory = MailerDirectory(tmp_path / "mailer")
    directory.write_for(emulator)
    with Sidecar(directory.path) as relay:
        status, told = ran(relay.port, emulator.mailbox, "admin@example.com")
        assert (status, told) == (0, f"passed: Office 365 accepted a mail from {emulator.mailbox} to admin@example.com")
        (mail,) = emulator.messages()
        assert mail["recipients"] == ["admin@example.com"]
        assert "Subject: O365 Mailer: helm test" in base64.b64decode(mail["content"]).decode()

        refused, why = ran(relay.port, "other@contoso.com")
        assert refused == 1
        assert why.startswith("FAILED: the mail was refused: 553 5.7.1 <other@contoso.com> may not send here")

        unexpected, why = ran(relay.port)
        assert unexpected == 1
        assert "without a mailer the relay must answer 451 4.3.5" in why


def test_a_pod_without_a_relay_fails_and_is_told_why() -> None:
    (port,) = free_ports(1, "127.0.0.1")
    status, told = ran(port)
    assert status == 1
    assert told.startswith(f"FAILED: no relay on 127.0.0.1:{port} (Connection refused). The webhook did not add")


def test_without_a_mailer_it_makes_a_namespace_of_its_own_and_deletes_all_that_it_made(render: Render) -> None:
    hooks = [found for found in render(tests=True) if "helm.sh/hook" in found["metadata"].get("annotations", {})]
    assert [(found["kind"], found["metadata"]["name"]) for found in hooks] == [
        ("Namespace", HELM_TEST),
        ("Job", HELM_TEST),
    ]
    for found in hooks:
        assert found["metadata"]["annotations"]["helm.sh/hook"] == "test"
        assert set(found["metadata"]["annotations"]["helm.sh/hook-delete-policy"].split(",")) == POLICIES
    (namespace,) = of_kind(hooks, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    (job,) = of_kind(hooks, "Job")
    assert job["metadata"]["namespace"] == HELM_TEST
    assert job["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_with_a_mailer_it_runs_where_the_mailer_is(render: Render) -> None:
    objects = render(
        "test.mailer=shop/noreply", "test.sender=noreply@contoso.example", "sidecar.imagePullSecrets={a}", tests=True
    )
    assert not of_kind(objects, "Namespace")
    (job,) = of_kind(objects, "Job")
    assert job["metadata"]["namespace"] == "shop"
    template = job["spec"]["template"]
    assert template["metadata"]["annotations"] == {"o365mailer.dev/inject": "noreply"}
    assert template["spec"]["imagePullSecrets"] == [{"name": "a"}]
    (container,) = template["spec"]["containers"]
    assert {entry["name"]: entry["value"] for entry in container["env"]} == {
        "SENDER": "noreply@contoso.example",
        "RECIPIENT": "noreply@contoso.example",
    }


def test_its_namespace_has_the_labels_that_the_users_selector_wants(render: Render) -> None:
    (namespace,) = of_kind(render("webhook.namespaceSelector.matchLabels.mail=allowed", tests=True), "Namespace")
    assert namespace["metadata"]["labels"]["mail"] == "allowed"
