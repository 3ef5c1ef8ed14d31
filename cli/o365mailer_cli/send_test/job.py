"""The Job that sends the test mail: one annotated pod, as Pod Security `restricted` asks. Pure."""

import email.utils
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from o365mailer_cli.cluster import Manifest
from o365mailer_cli.errors import WrongInput
from o365mailer_contract.names import INJECT_ANNOTATION, KIND, SMTP_PORT, SPOOL_ANNOTATION, SPOOL_NONE

CONTAINER: Final = "send-test"
PROGRAM: Final = Path(__file__).with_name("program.py")
KEPT: Final = 300
"""Seconds after its end at which Kubernetes removes the Job, if the command could not."""
START: Final = 60
"""Seconds that the pod gets to start, beyond the time for sending."""
JOB_LABEL: Final = "batch.kubernetes.io/job-name"


@dataclass(frozen=True, kw_only=True)
class TestMail:
    """What is sent, and how."""

    __test__ = False  # its name is not pytest's business

    mailer: str
    namespace: str
    sender: str
    recipient: str
    image: str
    """Has `python3`."""
    seconds: float
    """How long sending may take."""
    name: str = field(default_factory=lambda: f"o365mailer-send-test-{secrets.token_hex(4)}")
    """Of the Job: chosen here, so that it can be removed even if the answer to its creation is lost."""


def address(text: str) -> str:
    """An address that can stand in an envelope and a header as it is.

    Raises WrongInput.
    """
    local, at, domain = text.rpartition("@")
    if not (at and local and domain) or not text.isascii() or any(sign in text for sign in ' <>()[],;:\\"\t\r\n'):
        raise WrongInput(f"{text!r} is not an address such as you@example.com.")
    return text


def message(mail: TestMail) -> str:
    """The message, with lines that end with a line feed. It says where it comes from."""
    return "\n".join(
        (
            f"From: {mail.sender}",
            f"To: {mail.recipient}",
            "Subject: Test mail of O365 Mailer",
            f"Date: {email.utils.formatdate()}",
            "Auto-Submitted: auto-generated",
            "",
            f"This mail was sent by `o365mailer send-test` through the {KIND} {mail.namespace}/{mail.mailer}.",
            "If you read it, mail from that namespace reaches you. You do not have to answer.",
        )
    )


def manifest(mail: TestMail) -> Manifest:
    """The Job. It has no spool, so that its reply is Exchange's verdict and not `queued`."""
    environment = {
        "SEND_PORT": str(SMTP_PORT),
        "SEND_FROM": mail.sender,
        "SEND_TO": mail.recipient,
        "SEND_SECONDS": f"{mail.seconds:g}",
        "SEND_MESSAGE": message(mail),
    }
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": mail.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", PROGRAM.read_text(encoding="utf-8")],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": mail.name, "labels": {"app.kubernetes.io/name": "o365mailer-send-test"}},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(mail.seconds) + START,
            "ttlSecondsAfterFinished": KEPT,
            "template": {
                "metadata": {
                    "labels": {"app.kubernetes.io/name": "o365mailer-send-test"},
                    "annotations": {INJECT_ANNOTATION: mail.mailer, SPOOL_ANNOTATION: SPOOL_NONE},
                },
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "containers": [container],
                },
            },
        },
    }
