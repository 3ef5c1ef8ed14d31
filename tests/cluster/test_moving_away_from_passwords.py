"""A cluster full of apps that log in to Office 365 with a password: `scan` names them, and its lines move each."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cluster import apps
from cluster.apps import Manifest
from cluster.team import Team
from support.waiting import eventually

from o365mailer_cli.main import main

pytestmark = pytest.mark.timeout(300)

HOST = "smtp.office365.com"
"""Microsoft's name; in these pods it is the emulator's address. It refuses passwords, as Office 365 will."""
PASSWORD = "canary-password-of-the-apps"

SEND = """\
def mail(host, port, user, password, starttls):
    import os, smtplib, ssl, time
    from email.message import EmailMessage
    message = EmailMessage()
    message["From"], message["To"] = os.environ["MAIL_FROM"], "customer@example.com"
    message["Subject"] = os.environ["APP"]
    message.set_content("Hello.")
    while True:
        try:
            with smtplib.SMTP(host, int(port)) as server:
                if starttls:
                    server.starttls(context=ssl._create_unverified_context())
                if user:
                    server.login(user, password)
                server.send_message(message)
            print("sent", flush=True)
            break
        except (OSError, smtplib.SMTPException) as error:
            print(error, flush=True)
            time.sleep(1)
    import signal
    signal.pause()
"""

DJANGO = f"""{SEND}
import os
mail(os.environ["EMAIL_HOST"], os.environ["EMAIL_PORT"], os.environ.get("EMAIL_HOST_USER"),
     os.environ.get("EMAIL_HOST_PASSWORD"), os.environ["EMAIL_USE_TLS"] == "True")
"""
SYMFONY = f"""{SEND}
import os
from urllib.parse import unquote, urlsplit
url = urlsplit(os.environ["MAILER_DSN"])
mail(url.hostname, url.port, unquote(url.username or ""), url.password, bool(url.username))
"""
REPORT = f"""{SEND}
import argparse
flags = argparse.ArgumentParser()
for name in ("host", "user", "password", "tls"):
    flags.add_argument(f"--smtp-{{name}}", default="")
given = flags.parse_args()
host, port = given.smtp_host.split(":")
mail(host, port, given.smtp_user, given.smtp_password, given.smtp_tls == "true")
"""
REDMINE = f"""{SEND}
settings = dict(line.strip().split(": ") for line in open("/etc/app/configuration.yml") if line.startswith("  "))
mail(settings["address"], settings["port"], settings.get("user_name"), settings.get("password"),
     settings["enable_starttls_auto"] == "true")
"""


def configuration(host: str, port: int, *, login: str = "", starttls: str) -> Manifest:
    """Redmine's file."""
    text = f"smtp_settings:\n  enable_starttls_auto: {starttls}\n  address: {host}\n  port: {port}\n{login}"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "redmine"},
        "data": {"configuration.yml": text},
    }


def app(team: Team, name: str, program: str, address: str, **container: Any) -> Manifest:
    """A Deployment whose pods take the emulator for Office 365."""
    env = [{"name": "MAIL_FROM", "value": team.mailbox}, {"name": "APP", "value": name}, *container.pop("env", ())]
    made = {**apps.container(team.image, program, {}, name="app"), "env": env, **container}
    spec = {"hostAliases": [{"ip": address, "hostnames": [HOST]}], "containers": [made]}
    return apps.deployment(spec, annotated=False, name=name)


@pytest.fixture
def password_apps(team: Team) -> list[str]:
    """Four apps that log in with a password, each configured in another place."""
    address = team.cluster.kubectl.json("-n", "office365", "get", "service", "office365")["spec"]["clusterIP"]
    team.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mail"}, "stringData": {"password": PASSWORD}}
    )
    team.apply(
        configuration(HOST, 587, login=f"  user_name: {team.mailbox}\n  password: {PASSWORD}\n", starttls="true")
    )
    user = team.mailbox.replace("@", "%40")
    team.apply(
        app(
            team,
            "django",
            DJANGO,
            address,
            env=[
                {"name": "EMAIL_HOST", "value": HOST},
                {"name": "EMAIL_PORT", "value": "587"},
                {"name": "EMAIL_USE_TLS", "value": "True"},
                {"name": "EMAIL_HOST_USER", "value": team.mailbox},
                {"name": "EMAIL_HOST_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "mail", "key": "password"}}},
            ],
        ),
        app(
            team,
            "symfony",
            SYMFONY,
            address,
            env=[{"name": "MAILER_DSN", "value": f"smtp://{user}:{PASSWORD}@{HOST}:587"}],
        ),
        app(
            team,
            "report",
            REPORT,
            address,
            args=[
                f"--smtp-host={HOST}:587",
                "--smtp-user",
                team.mailbox,
                "--smtp-password",
                PASSWORD,
                "--smtp-tls=true",
            ],
        ),
        redmine(team, address),
    )
    return ["django", "symfony", "report", "redmine"]


def redmine(team: Team, address: str) -> Manifest:
    """The app with a file."""
    made = app(team, "redmine", REDMINE, address, volumeMounts=[{"name": "files", "mountPath": "/etc/app"}])
    made["spec"]["template"]["spec"]["volumes"] = [{"name": "files", "configMap": {"name": "redmine"}}]
    return made


def scan(team: Team) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and findings of `o365mailer scan` in the team's namespace."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = main(["scan", "-n", team.name, "-o", "json"], {"KUBECONFIG": str(team.cluster.kubectl.kubeconfig)})
    assert PASSWORD not in out.getvalue()
    return status, json.loads(out.getvalue())["findings"]


def run(line: str, team: Team) -> None:
    """Run a line as it is printed."""
    kubectl = team.cluster.kubectl
    path = f"{Path(kubectl.program).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(kubectl.kubeconfig)}
    ran = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, f"{line}\n{ran.stderr}"


def is_refused(team: Team, name: str) -> bool:
    """Whether the app says that its password is not accepted."""
    return "basic authentication is disabled" in team.kubectl("logs", f"deployment/{name}", "-c", "app")


@pytest.mark.promise("scan-finds-passwords")
def test_scan_names_the_apps_and_its_lines_move_each_until_all_mail(team: Team, password_apps: list[str]) -> None:
    for name in password_apps:
        team.rolled_out(name)
        eventually(functools.partial(is_refused, team, name), f"{name} is refused because it has a password")
    assert team.mails() == []

    status, findings = scan(team)

    found = {one["subject"].split()[0].rpartition("/")[2]: one for one in findings if one["status"] == "failed"}
    assert status == 1
    assert sorted(found) == sorted(password_apps)
    assert {one["mailer"] for one in found.values()} == {apps.MAILER}
    for one in found.values():
        assert len(one["lines"]) == 2, one
        for line in one["lines"]:
            if " edit " in line:  # what the line tells a person to change, in the editor
                team.apply(configuration("127.0.0.1", 25, starttls="false"))
            else:
                run(line, team)
    for name in password_apps:
        team.rolled_out(name)
    mails = team.mails(atleast=len(password_apps), wait=90)

    assert sorted({dict(map(tuple, one["headers"]))["Subject"] for one in mails}) == sorted(password_apps)
    assert [one for one in scan(team)[1] if one["status"] in {"failed", "warning"}] == []
