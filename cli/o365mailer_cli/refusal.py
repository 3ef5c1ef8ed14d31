"""Why the API server did not create a pod, from the Event of its ReplicaSet or Job. Pure.

A refusal of the webhook is told in the webhook's own words.
"""

import re
from typing import Final, NamedTuple

from o365mailer_cli.finding import Finding, Status
from o365mailer_contract.names import DOCS

INJECTION_PAGE: Final = f"{DOCS}/injection.md"
REFUSAL_PAGE: Final = f"{INJECTION_PAGE}#when-a-pod-is-refused"
INSTALLATION_PAGE: Final = f"{DOCS}/troubleshooting.md#the-installation"


class Kind(NamedTuple):
    """A kind of refusal. `sign` is a pattern for the API server's sentence; a group `words` in it is the cause."""

    sign: str
    name: str
    title: str
    remedy: str
    link: str


KINDS: Final = (
    Kind(
        r'admission webhook "[a-z.]*o365mailer\.dev" denied the request: (?P<words>.*)',
        "pod.refused",
        "the webhook refuses its pods",
        "Do what the cause says. Its last word, in brackets, is the reason that the page explains.",
        REFUSAL_PAGE,
    ),
    Kind(
        r'failed calling webhook "[a-z.]*o365mailer\.dev"',
        "pod.webhook-away",
        "the webhook did not answer, so its pods were not created",
        "Look at the webhook's pods. The pods are created as soon as it answers.",
        REFUSAL_PAGE,
    ),
    Kind(
        r"violates PodSecurity",
        "pod.refused",
        "Pod Security refuses its pods",
        "Correct the containers that the cause names. The relay itself meets `restricted`.",
        INSTALLATION_PAGE,
    ),
    Kind(
        r"exceeded quota|failed quota",
        "pod.refused",
        "a quota of the namespace refuses its pods",
        "Raise the quota, or lower what the pods ask for.",
        INSTALLATION_PAGE,
    ),
    Kind(
        r"usage per (Container|Pod) is|to request ratio",
        "pod.refused",
        "a LimitRange of the namespace refuses its pods",
        "Set the annotation for the relay's resources that the page names.",
        INSTALLATION_PAGE,
    ),
    Kind(
        r"",
        "pod.refused",
        "its pods were not created",
        "Do what the cause says. O365 Mailer has not refused them.",
        INSTALLATION_PAGE,
    ),
)
"""The first one whose sign is found decides."""


def refusal(message: str) -> Finding:
    """The finding for an Event's message."""
    for kind in KINDS:
        if (found := re.search(kind.sign, message, re.DOTALL)) is not None:
            break
    cause = (found.groupdict() if found else {}).get("words") or message
    return Finding(
        name=kind.name,
        status=Status.FAILED,
        title=kind.title,
        cause=cause.strip(),
        remedy=kind.remedy,
        link=kind.link,
    )
