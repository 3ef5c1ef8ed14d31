"""A user of the cluster over HTTP, on one kept connection: kubectl is too slow for thousands of requests."""

import base64
import http.client
import json
import ssl
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Manifest = dict[str, Any]
MAILERS = "/apis/o365mailer.dev/v1alpha1/namespaces/{}/o365mailers"
SECRETS = "/api/v1/namespaces/{}/secrets"
PODS = "/api/v1/namespaces/{}/pods"
EVENTS = "/apis/events.k8s.io/v1/namespaces/{}/events"
MERGE = "application/merge-patch+json"


class User:
    """Sends requests as a user whom the administrator impersonates; without a name, as the administrator."""

    def __init__(self, kubeconfig: Path, name: str | None = None) -> None:
        document = json.loads(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._server = urlsplit(cluster["server"])
        self._context = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        with tempfile.NamedTemporaryFile() as pair:
            for member in ("client-certificate-data", "client-key-data"):
                pair.write(base64.b64decode(user[member]) + b"\n")
            pair.flush()
            self._context.load_cert_chain(pair.name)
        self._headers = {"Impersonate-User": name} if name else {}
        self._local = threading.local()

    def request(
        self, method: str, path: str, body: Manifest | None = None, *, kind: str = "application/json"
    ) -> tuple[int, Any]:
        """Status and document of the answer. Each thread has a connection of its own."""
        text = None if body is None else json.dumps(body)
        for attempt in range(3):
            connection = self._connection(new=attempt > 0)
            try:
                connection.request(method, path, text, {"Content-Type": kind, **self._headers})
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):  # the API server has closed a kept connection
                if attempt == 2:
                    raise
            else:
                return answer.status, json.loads(content) if content.startswith(b"{") else content
        raise AssertionError

    def create(self, path: str, *objects: Manifest) -> None:
        """Create each of the objects."""
        for manifest in objects:
            status, document = self.request("POST", path, manifest)
            assert status == 201, document

    def change(self, path: str, change: Manifest) -> tuple[int, Any]:
        """The answer to a merge patch."""
        return self.request("PATCH", path, change, kind=MERGE)

    def _connection(self, *, new: bool) -> http.client.HTTPSConnection:
        connection: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if connection is None or new:
            connection = http.client.HTTPSConnection(
                self._server.hostname or "", self._server.port, context=self._context, timeout=30
            )
            self._local.connection = connection
        return connection


def secret(name: str, data: Mapping[str, bytes], **more: Any) -> Manifest:
    """A Secret."""
    metadata = {"name": name, **more.pop("metadata", {})}
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded, **more}
