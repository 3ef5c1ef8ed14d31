"""The emulator of Office 365 inside the cluster, asked through `kubectl proxy`.

Not `kubectl port-forward`: that one holds on to a single pod, and ends with the first connection that breaks.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from cluster_rig.clients import Client
from cluster_rig.processes import bound_to_parent

from o365mailer_emulator.client import Control

TENANT = "11111111-1111-4111-8111-111111111111"
HOST = "office365.office365.svc.cluster.local"
SERVICE = "/api/v1/namespaces/office365/services/http:office365:control/proxy"


class Office365(Control):
    """Its control API."""

    def register(self, *, client_id: str, secret: str, mailbox: str) -> None:
        """An application with one client secret, and a mailbox that no other application may submit for."""
        self.control("PATCH", f"/applications/{client_id}", {"secrets": [{"value": secret}]})
        self.control("PATCH", f"/mailboxes/{mailbox}", {"applications": [client_id]})


@contextmanager
def reached(kubectl: Client) -> Iterator[Office365]:
    """The emulator, for as long as the context lasts."""
    command = [*bound_to_parent(), str(kubectl.program), "proxy", "--port=0"]
    environ = {**os.environ, "KUBECONFIG": str(kubectl.kubeconfig)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout
        line = proxy.stdout.readline()  # Starting to serve on 127.0.0.1:PORT
        try:
            yield Office365(f"http://{line.split()[-1]}{SERVICE}")
        finally:
            proxy.terminate()
