"""Annotated pods that are created all the time, so that a moment without a webhook is noticed."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cluster import apps
from cluster_rig.clients import Client
from cluster_rig.processes import bound_to_parent

from o365mailer_contract import names

PAUSE_SECONDS = 0.05
REQUEST_SECONDS = 30
POD = apps.pod("asked", {"containers": [{"name": "app", "image": "app"}]})


@dataclass
class Admissions:
    """What became of the pods so far."""

    injected: int = 0
    refused: list[str] = field(default_factory=list)
    """What the API server said, for each pod that it did not take, or took without a relay."""


@contextmanager
def asked(kubectl: Client, namespace: str) -> Iterator[Admissions]:
    """Creates the pod again and again without keeping it (`dryRun=All`), for as long as the context lasts."""
    seen, end = Admissions(), threading.Event()
    command = [*bound_to_parent(), str(kubectl.program), "proxy", "--port=0"]
    environ = {**os.environ, "KUBECONFIG": str(kubectl.kubeconfig)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout
        host, _, port = proxy.stdout.readline().split()[-1].partition(":")  # Starting to serve on 127.0.0.1:PORT
        thread = threading.Thread(target=ask, args=(host, int(port), namespace, seen, end))
        thread.start()
        try:
            yield seen
        finally:
            end.set()
            thread.join(2 * REQUEST_SECONDS)
            proxy.terminate()


def ask(host: str, port: int, namespace: str, seen: Admissions, end: threading.Event) -> None:
    """One pod after the other, until the end is set."""
    connection = http.client.HTTPConnection(host, port, timeout=REQUEST_SECONDS)
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    while not end.wait(PAUSE_SECONDS):
        try:
            connection.request("POST", path, json.dumps(POD), {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            seen.refused.append(f"{type(error).__name__}: {error}")
            connection.close()
            continue
        relays = [each for each in answer.get("spec", {}).get("initContainers", ()) if each["name"] == names.CONTAINER]
        if relays:
            seen.injected += 1
        else:
            seen.refused.append(answer.get("message", "no relay was added"))
