"""A user of the cluster: a namespace, a mailbox with an application that may send for it, and a mailer."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from cluster import apps
from cluster.apps import Manifest
from cluster.office365 import HOST, TENANT, Office365
from cluster.record import Record
from cluster_rig.choice import Cluster
from cluster_rig.clients import ClientError

from o365mailer_contract import names

READY_SECONDS = 60


@dataclass(kw_only=True)
class Team:
    """One test's own corner of the installation. As a context manager it leaves a record of all that was said in it."""

    cluster: Cluster
    office365: Office365
    record: Record
    image: str
    """Has python3."""
    authority: str
    """The emulator's certificate authority, PEM."""
    restricted: bool = True
    """Whether Pod Security enforces its strictest level."""
    name: str = field(default_factory=lambda: f"team-{uuid.uuid4().hex[:8]}")
    client_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def secret(self) -> str:
        """The application's client secret."""
        return f"canary-client-secret-of-{self.name}-not-a-secret"

    @property
    def body(self) -> str:
        """What its mails say."""
        return f"canary-body-of-{self.name}"

    @property
    def mailbox(self) -> str:
        """Its own."""
        return f"{self.name}@contoso.com"

    def __enter__(self) -> Self:
        level = {"pod-security.kubernetes.io/enforce": "restricted"} if self.restricted else {}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name, "labels": level}}
        self.cluster.kubectl.apply(namespace)
        self.apply(self._secret("office365-ca", {"ca.crt": self.authority}))
        self.apply(self._secret("credential", {"client-secret": self.secret}))
        self.office365.register(client_id=self.client_id, secret=self.secret, mailbox=self.mailbox)
        # Pods are refused until their ServiceAccount exists.
        self.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keep_record()
        self.cluster.kubectl("delete", "namespace", self.name, "--wait=false")

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """kubectl in the team's namespace; its stdout."""
        return self.cluster.kubectl("--namespace", self.name, *arguments, stdin=stdin, timeout=timeout)

    def get(self, *arguments: str) -> Any:
        """`kubectl get` in the team's namespace, decoded."""
        return self.cluster.kubectl.json("--namespace", self.name, "get", *arguments)

    def apply(self, *documents: Manifest) -> None:
        """`kubectl apply` in the team's namespace."""
        self.cluster.kubectl.apply(*documents, namespace=self.name)

    def apply_mailer(self) -> None:
        """Applies the mailer, and returns when it is Ready."""
        self.apply(self.mailer())
        condition, limit = "--for=condition=Ready", f"--timeout={READY_SECONDS}s"
        self.kubectl("wait", condition, limit, f"o365mailer/{apps.MAILER}", timeout=READY_SECONDS + 30)

    def mailer(self) -> Manifest:
        """The mailer, at the emulator's hosts."""
        authorities = {"ca": {"secretRef": {"name": "office365-ca"}}}
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": apps.MAILER},
            "spec": {
                "tenantId": TENANT,
                "clientId": self.client_id,
                "mailbox": self.mailbox,
                "credential": {"clientSecret": {"secretRefs": [{"name": "credential", "key": "client-secret"}]}},
                "authority": {"url": f"https://{HOST}", **authorities},
                "submission": {"host": HOST, "port": 587, **authorities},
            },
        }

    def app(self, program: str, *, name: str = "app", secure: bool | None = None) -> Manifest:
        """A container that runs a program of cluster.apps; secure as the namespace asks, unless said otherwise."""
        env = {"MAIL_FROM": self.mailbox, "MAIL_BODY": self.body}
        return apps.container(self.image, program, env, name=name, secure=self.restricted if secure is None else secure)

    def rolled_out(self, name: str = "app") -> None:
        """Returns when every pod of the Deployment is of its newest template, and ready."""
        try:
            self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")
        except ClientError as error:
            raise AssertionError(f"{error}\n{self.said()}") from None

    def mails(self, *, atleast: int = 0, wait: float = 30) -> list[dict[str, Any]]:
        """What has arrived in the mailbox; fails when fewer than `atleast` come within `wait` seconds."""
        found = self.office365.messages(self.mailbox, atleast=atleast, wait=wait)
        assert len(found) >= atleast, f"{len(found)} of {atleast} mails within {wait:g} s\n{self.said()}"
        return found

    def pods(self) -> list[Manifest]:
        """The pods that are not on their way out."""
        found: list[Manifest] = self.get("pods")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def token(self) -> str:
        """The token that is in the mailer directory now; nothing where there is no Secret."""
        found = self.cluster.kubectl.process(
            "--namespace", self.name, "get", "secret", names.token_secret_name(apps.MAILER), "--output", "json"
        )
        data = json.loads(found.stdout)["data"] if found.returncode == 0 else {}
        return base64.b64decode(data.get(names.TOKEN_FILE, "")).decode()

    def tokens_issued(self) -> list[dict[str, Any]]:
        """The tokens that Entra has issued to the team's application."""
        return [token for token in self.office365.tokens() if token["clientId"] == self.client_id]

    def said(self) -> str:
        """Pods, Events and logs, for the message of a failure."""
        commands = (["get", "pods"], ["get", "events"], ["logs", "--selector=app", "--all-containers", "--tail=15"])
        shown = [self.cluster.kubectl.process("--namespace", self.name, *command) for command in commands]
        return "\n\n".join(each.stdout + each.stderr for each in shown)

    def keep_record(self) -> None:
        """Keeps what must not be said anywhere, and everything that was said in the namespace."""
        self.record.forbid({f"client secret of {self.name}": self.secret, f"body of {self.name}": self.body})
        self.forbid_token()
        self.record.keep_namespace(self.cluster.kubectl, self.name)

    def forbid_token(self) -> None:
        """Remembers the token of this moment as one that must not be said."""
        if token := self.token():
            self.record.forbid({f"token of {self.name}": token})

    @staticmethod
    def _secret(name: str, data: dict[str, str]) -> Manifest:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
