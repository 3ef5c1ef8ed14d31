"""The verb `send-test`: its flags, what it looks at before it sends, and what it prints."""

import argparse
import signal
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, Final, NoReturn

from o365mailer_cli.cluster import PODS, Cluster
from o365mailer_cli.errors import CliError, ClusterError, WrongInput
from o365mailer_cli.flags import cluster_flags, duration, name, output_flag
from o365mailer_cli.installation import read_installation
from o365mailer_cli.kubeconfig import Access, connect
from o365mailer_cli.mailers import Mailer, read_mailers, reason_link
from o365mailer_cli.output import Output
from o365mailer_cli.relays import Relay
from o365mailer_cli.send_test.job import TestMail, address
from o365mailer_cli.send_test.sending import send
from o365mailer_cli.send_test.verdict import Verdict
from o365mailer_contract.names import MAILER_LABEL

DESCRIPTION: Final = (
    "Send one real mail through a mailer, from a Job that gets a relay as an app's pod does, and say what Office 365 "
    "answered. The Job is removed afterwards. Exit status 1 if Office 365 has not accepted the mail."
)
WAIT: Final = "60s"
TERMINATED: Final = 143


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("mailer", type=name, metavar="MAILER", help="the mailer to send through")
    parser.add_argument("--to", required=True, metavar="ADDRESS", help="who gets the mail")
    parser.add_argument("--from", dest="sender", metavar="ADDRESS", help="the sender (default: the mailer's mailbox)")
    parser.add_argument(
        "--image", metavar="IMAGE", help="an image with python3 (default: the relay's, which the cluster has already)"
    )
    parser.add_argument(
        "--timeout",
        type=duration,
        default=WAIT,
        metavar="DURATION",
        help=f"how long to try to send, beyond the start of the pod (default {WAIT})",
    )
    output_flag(parser)
    cluster_flags(parser)


def main(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Send, and print what became of it. Returns 1 if it was not accepted."""
    recipient = address(given.to)
    cluster = connect(Access.of(given), environment)
    output = Output.of(given)
    (mailer,) = read_mailers(cluster, namespace=cluster.namespace, name=given.mailer)
    _require_ready(mailer)
    mail = TestMail(
        mailer=mailer.name,
        namespace=mailer.namespace,
        sender=address(given.sender or mailer.mailbox),
        recipient=recipient,
        image=given.image or relay_image(cluster),
        seconds=given.timeout,
    )
    signal.signal(signal.SIGTERM, _terminated)
    with output.progress(f"a Job sends a mail through {mailer}") as progress:
        verdict = send(cluster, mail, told=progress.update, left=output.warning)
    if output.json:
        output.document(_document(mail) | verdict.document())
    else:
        _show(output, mail, verdict)
    return int(not verdict.accepted)


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM ends it like Ctrl-C does: the Job is removed."""
    sys.exit(TERMINATED)


def _require_ready(mailer: Mailer) -> None:
    ready = mailer.ready
    if ready.status != "True":
        why = f"{ready.message} See {reason_link(ready.reason)}" if ready.reason else "No controller has looked at it."
        raise CliError(f"{mailer} is not ready, so no pod can mail through it. {why}")


def relay_image(cluster: Cluster) -> str:
    """The image that the webhook injects, or that a pod of the namespace was injected with.

    Raises WrongInput.
    """
    if image := read_installation(cluster).sidecar_image:
        return image
    try:
        pods = cluster.list_all(PODS, namespace=cluster.namespace, labels=MAILER_LABEL)
    except ClusterError:
        pods = []
    if image := next((image for pod in pods if (image := Relay(pod).image)), ""):
        return image
    raise WrongInput(
        "Which image has python3 and can be pulled is unknown: you may not read the webhook's Deployment, and no pod "
        "of the namespace has a relay. Name one with --image, such as the relay's."
    )


def _document(mail: TestMail) -> dict[str, Any]:
    return {
        "namespace": mail.namespace,
        "mailer": mail.mailer,
        "from": mail.sender,
        "to": mail.recipient,
        "image": mail.image,
        "job": mail.name,
    }


def _show(output: Output, mail: TestMail, verdict: Verdict) -> None:
    record = verdict.record
    if verdict.accepted:
        output.line(f"✓ Office 365 has accepted the mail to {mail.recipient}", style="green")
        output.line(f"    reply:     {verdict.code} {verdict.enhanced} {verdict.text}")
        output.line("    now:       look into the recipient's inbox, and into its junk folder. If it is in neither,")
        output.line("               trace it in Exchange's admin center (Mail flow, Message trace).")
    else:
        reply = f"{verdict.code} {verdict.enhanced} ".replace("  ", " ") if verdict.code else ""
        output.line(f"✗ Office 365 does not have the mail to {mail.recipient} ({verdict.reason})", style="bold red")
        output.line(f"    {'reply' if verdict.code else 'cause'}:     {reply}{verdict.text}")
        if verdict.remedy:
            output.line(f"    remedy:    {verdict.remedy}")
        output.line(f"    see:       {verdict.link}")
    if record.get("queue_id"):
        output.line(f"    queue id:  {record['queue_id']} (in the Received header, and in the relay's log)")
    if record.get("exchange_id"):
        output.line(f"    Exchange:  {record['exchange_id']} on {record.get('exchange_host') or 'an unnamed host'}")
