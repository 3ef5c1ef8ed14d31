"""The emulator of Office 365 inside the cluster, asked through `kubectl proxy`.

Not `kubectl port-forward`: that one holds on to a single pod, and ends with the first connection that breaks.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cluster_rig.clients import Client
from cluster_rig.processes import bound_to_parent

TENANT = "11111111-1111-4111-8111-111111111111"
HOST = "office365.office365.svc.cluster.local"
SERVICE = "/api/v1/namespaces/office365/services/http:office365:control/proxy"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Office365:
    """Its control API."""

    address: str
    """`host:port` of `kubectl proxy`, which is the API server with our rights."""

    def control(self, method: str, path: str, document: Any = None) -> Any:
        """One request of the control API, its answer decoded."""
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"http://{self.address}{SERVICE}{path}", data=body, method=method)
        with OPENER.open(request, timeout=90) as answer:
            return json.loads(answer.read())

    def settings(self, **members: Any) -> None:
        """Turns its dials: `settings(tokenLifetime=90)`."""
        self.control("PATCH", "/settings", members)

    def register(self, *, client_id: str, secret: str, mailbox: str) -> None:
        """An application with one client secret, and a mailbox that no other application may submit for."""
        self.control("PATCH", f"/applications/{client_id}", {"secrets": [{"value": secret}]})
        self.control("PATCH", f"/mailboxes/{mailbox}", {"applications": [client_id]})

    def messages(self, mailbox: str, *, atleast: int = 0, wait: float = 30) -> list[dict[str, Any]]:
        """What has arrived there; waits up to `wait` seconds for `atleast` messages."""
        query = urllib.parse.urlencode({"mailbox": mailbox, "atleast": atleast, "wait": wait if atleast else 0})
        return list(self.control("GET", f"/messages?{query}")["messages"])

    def counters(self) -> dict[str, Any]:
        """What it has counted since it started."""
        return dict(self.control("GET", "/counters"))

    def tokens(self) -> list[dict[str, Any]]:
        """The tokens that it has issued, oldest first."""
        return list(self.control("GET", "/tokens")["tokens"])


@contextmanager
def reached(kubectl: Client) -> Iterator[Office365]:
    """The emulator, for as long as the context lasts."""
    command = [*bound_to_parent(), str(kubectl.program), "proxy", "--port=0"]
    environ = {**os.environ, "KUBECONFIG": str(kubectl.kubeconfig)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout
        line = proxy.stdout.readline()  # Starting to serve on 127.0.0.1:PORT
        try:
            yield Office365(address=line.split()[-1])
        finally:
            proxy.terminate()
