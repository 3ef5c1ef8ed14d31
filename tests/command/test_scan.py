"""`scan` on a real API server: it finds what logs in with a password, with the rights it needs, and its lines work."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster_rig.control_plane import ControlPlane

from command.team import Ask, Team, Told

PASSWORD = "canary-password-of-the-scan"
HOST = "smtp.office365.com"


def template(container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A pod template."""
    whole = {"name": "app", "image": "registry.example/app:1", **container}
    return {"metadata": {"labels": {"app": "app"}}, "spec": {"containers": [whole], **spec}}


def deployment(name: str, container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A Deployment without pods, as no node runs them."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "app"}},
            "template": template(container, **spec),
        },
    }


def variables(**values: Any) -> list[dict[str, Any]]:
    """Variables: a text, or what `valueFrom` has."""
    return [
        {"name": name, "value": value} if isinstance(value, str) else {"name": name, "valueFrom": value}
        for name, value in values.items()
    ]


SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mail"}, "stringData": {"password": PASSWORD}}
WHOLE_FILE = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "superset-config"},
    "stringData": {"superset_config.py": f'SMTP_HOST = "{HOST}"\nSMTP_PASSWORD = "{PASSWORD}"\n'},
}
FILE = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "alertmanager"},
    "data": {"alertmanager.yml": f"global:\n  smtp_smarthost: {HOST}:587\n  smtp_auth_password: {PASSWORD}\n"},
}
WEB = deployment(
    "web",
    {
        "env": variables(
            EMAIL_HOST=HOST,
            EMAIL_PORT="587",
            EMAIL_USE_TLS="True",
            EMAIL_HOST_USER="noreply@contoso.com",
            EMAIL_HOST_PASSWORD={"secretKeyRef": {"name": "mail", "key": "password"}},
        )
    },
)
REPORT = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "report"},
    "spec": {
        "schedule": "0 0 1 1 *",
        "suspend": True,
        "jobTemplate": {
            "spec": {
                "template": template(
                    {
                        "args": [
                            f"--smtp-host={HOST}:587",
                            "--smtp-user",
                            "noreply@contoso.com",
                            f"--smtp-password={PASSWORD}",
                            "--to=team@contoso.com",
                        ]
                    },
                    restartPolicy="Never",
                )
            }
        },
    },
}
ALERTMANAGER = deployment(
    "alertmanager",
    {"volumeMounts": [{"name": "config", "mountPath": "/etc/alertmanager"}]},
    volumes=[{"name": "config", "configMap": {"name": "alertmanager"}}],
)
SUPERSET = deployment(
    "superset",
    {"volumeMounts": [{"name": "config", "mountPath": "/app"}]},
    volumes=[{"name": "config", "secret": {"secretName": "superset-config"}}],
)


@pytest.fixture
def apps(cluster: ControlPlane, namespace: str) -> Team:
    """A namespace with four apps that log in with a password, and a mailer for their mailbox."""
    team = Team(cluster, namespace)
    team.mailer()
    team.kubectl.apply(SECRET, WHOLE_FILE, FILE, WEB, REPORT, ALERTMANAGER, SUPERSET, namespace=namespace)
    return team


def subjects(told: Told, status: str) -> set[str]:
    """What the findings of a status are about, without the namespace."""
    return {one["subject"].partition("/")[2] for one in told.json["findings"] if one["status"] == status}


FOUND = {"deployment/web (app)", "cronjob/report (app)", "deployment/alertmanager (app)"}


@pytest.mark.promise("scan-finds-passwords", "scan-shows-no-secret")
def test_it_finds_what_logs_in_and_reads_secrets_only_if_it_is_told_to(apps: Team, ask: Ask) -> None:
    without = ask("scan", "-n", apps.namespace, "-o", "json")
    told = ask("scan", "-n", apps.namespace, "-o", "json", "--read-secrets")
    text = ask("scan", "-n", apps.namespace, "--read-secrets", "--with-addresses")

    assert (without.status, told.status, text.status) == (1, 1, 1)
    assert subjects(without, "failed") == FOUND
    assert "2 workloads also take settings from 2 Secrets, not read" in without.out
    assert subjects(told, "failed") == FOUND | {"deployment/superset (app)"}
    assert PASSWORD not in without.out + told.out + text.out
    assert "noreply@contoso.com" not in without.out + told.out
    assert "noreply@contoso.com" in text.out


def run(line: str, plane: ControlPlane) -> None:
    """Run a line that `scan` printed, as a user would."""
    program = Path(plane.kubectl.program)
    path = f"{program.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(plane.kubeconfig)}
    ran = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True)

    assert ran.returncode == 0, f"{line}\n{ran.stderr}"


def test_the_printed_lines_move_each_app(apps: Team, ask: Ask, cluster: ControlPlane) -> None:
    """Those of variables and arguments as they are printed; a file is edited as the finding says."""
    for finding in ask("scan", "-n", apps.namespace, "-o", "json").json["findings"]:
        for line in finding.get("lines", ()):
            if " edit " not in line:
                run(line, cluster)
    moved = "global:\n  smtp_smarthost: 127.0.0.1:25\n  smtp_require_tls: false\n"
    apps.kubectl.apply({**FILE, "data": {"alertmanager.yml": moved}}, namespace=apps.namespace)

    after = ask("scan", "-n", apps.namespace, "-o", "json")

    assert after.status == 0
    assert subjects(after, "failed") == set()
    for resource in ("deployment/web", "cronjob/report", "deployment/alertmanager"):
        found = apps.kubectl.json("get", resource, "-n", apps.namespace)
        assert found["metadata"]["annotations"]["o365mailer.dev/inject"] in {"noreply", "MAILER"}
    web = apps.kubectl.json("get", "deployment/web", "-n", apps.namespace)["spec"]["template"]["spec"]["containers"][0]
    assert web["env"] == variables(EMAIL_HOST="127.0.0.1", EMAIL_PORT="25", EMAIL_USE_TLS="False")
    report = apps.kubectl.json("get", "cronjob/report", "-n", apps.namespace)["spec"]["jobTemplate"]["spec"]
    assert report["template"]["spec"]["containers"][0]["args"] == ["--smtp-host=127.0.0.1:25", "--to=team@contoso.com"]


def test_kubernetes_own_role_view_is_enough(apps: Team, ask: Ask, user: Callable[..., Path]) -> None:
    told = ask("scan", "-n", apps.namespace, "-o", "json", kubeconfig=user("view", "o365mailer-viewer"))

    assert subjects(told, "failed") == FOUND
    assert "may not be listed" not in told.out


def test_a_right_that_is_missing_is_named_and_the_rest_is_scanned(
    apps: Team, ask: Ask, user: Callable[..., Path]
) -> None:
    viewer = ask("scan", "-n", apps.namespace, "-o", "json", kubeconfig=user("o365mailer-viewer"))
    secrets = ask("scan", "-n", apps.namespace, "-o", "json", "--read-secrets", kubeconfig=user("view"))

    assert subjects(viewer, "failed") == FOUND - {"deployment/alertmanager (app)"}
    assert "configmaps may not be listed. Ask for the right to list them." in viewer.out
    assert f'Secret {apps.namespace}/mail could not be read: secrets \\"mail\\" is forbidden' in secrets.out


def test_no_right_at_all_is_one_line(namespace: str, ask: Ask, user: Callable[..., Path]) -> None:
    told = ask("scan", "-n", namespace, kubeconfig=user())

    assert told.status == 2
    assert told.err.startswith("o365mailer: ")
    assert "is forbidden" in told.err
    assert told.err.count("\n") == 1


def test_every_page_of_a_long_list_is_read(apps: Team, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("o365mailer_cli.cluster.PAGE", 2)
    for number in range(5):
        named = {**WEB, "metadata": {"name": f"web-{number}"}}
        apps.kubectl.apply(named, namespace=apps.namespace)

    assert len(subjects(ask("scan", "-n", apps.namespace, "-o", "json"), "failed")) == len(FOUND) + 5


def test_setup_reads_a_mailer_of_the_cluster(apps: Team, ask: Ask) -> None:
    told = ask("setup", "noreply", "-n", apps.namespace)

    assert told.status == 0
    assert "$Mailbox = 'noreply@contoso.com'" in told.out
    assert f"$Name = 'o365mailer-{apps.namespace}-noreply'" in told.out


def test_setup_of_a_mailer_that_is_not_there_is_one_line(namespace: str, ask: Ask) -> None:
    told = ask("setup", "none", "-n", namespace)

    assert told.status == 2
    assert told.err == 'o365mailer: There is no such object: o365mailers.o365mailer.dev "none" not found.\n'
