"""Apps as users have them: they speak plain SMTP to localhost, and know nothing of tokens. As manifests."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from o365mailer_contract import names

Manifest = dict[str, Any]

SEND = """\
import os, smtplib
from email.message import EmailMessage
def send(number):
    mail = EmailMessage()
    mail["From"], mail["To"] = os.environ["MAIL_FROM"], "customer@example.com"
    mail["Subject"] = f"{os.environ['HOSTNAME']} {number}"
    mail.set_content(os.environ["MAIL_BODY"])
    with smtplib.SMTP("localhost", 25) as relay:
        relay.send_message(mail)
"""
"""No login, no TLS, and no second try: a mail that is refused ends the app."""

ONCE = f"{SEND}\nsend(1)\n"
ONCE_AND_STAY = f"{ONCE}\nimport signal\nprint('sent', flush=True)\nsignal.pause()\n"
ALWAYS = f"{SEND}\nimport itertools, time\nfor number in itertools.count(1):\n    send(number)\n    time.sleep(2)\n"
STAY = "import signal; signal.pause()"

RESTRICTED: Manifest = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What Pod Security's `restricted` asks of a container."""

ANNOTATION = names.INJECT_ANNOTATION
MAILER = "noreply"


def container(image: str, program: str, env: dict[str, str], *, name: str = "app", secure: bool = True) -> Manifest:
    """A container that runs a Python program."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "-c", program],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        **({"securityContext": RESTRICTED} if secure else {}),
    }


def template(spec: Manifest, *, annotated: bool = True, name: str = "app") -> Manifest:
    """A pod template, with the one annotation."""
    annotations = {"annotations": {ANNOTATION: MAILER}} if annotated else {}
    return {"metadata": {"labels": {"app": name}, **annotations}, "spec": spec}


def pod(name: str, spec: Manifest, *, annotated: bool = True) -> Manifest:
    """A pod by itself."""
    metadata = {**template(spec, annotated=annotated, name=name)["metadata"], "name": name}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def deployment(spec: Manifest, *, annotated: bool = True, replicas: int = 1, name: str = "app") -> Manifest:
    """A Deployment."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template(spec, annotated=annotated, name=name),
        },
    }


def job(spec: Manifest, *, name: str = "app") -> Manifest:
    """A Job that tries once."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": template({**spec, "restartPolicy": "Never"}, name=name)},
    }


def numbers(mails: list[Manifest]) -> dict[str, list[int]]:
    """The numbers in the subjects of each pod's mails (SEND writes both), in the order of arrival."""
    found = defaultdict(list)
    for mail in mails:
        pod, number = dict(map(tuple, mail["headers"]))["Subject"].split()
        found[pod].append(int(number))
    return found


def restarts(pod: Manifest) -> list[int]:
    """Of the pod's containers, the relay first."""
    status = pod["status"]
    return [each["restartCount"] for each in [*status["initContainerStatuses"], *status["containerStatuses"]]]
