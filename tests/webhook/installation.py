"""The webhook installed with a control plane that has no node: reached by URL, its Secret mounted by a thread."""

import asyncio
import base64
import contextlib
import json
import ssl
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml
from cluster_rig.control_plane import ControlPlane
from support.mounted_directory import MountedDirectory
from support.rendered_chart import controller_account, controller_rights
from support.waiting import eventually
from webhook.process import WebhookProcess

from o365mailer_contract import names
from o365mailer_operator.clock import Clock
from o365mailer_operator.controller.authority_keeper import AuthorityKeeper
from o365mailer_operator.controller.cluster import SECRETS, connect
from o365mailer_operator.controller.cluster_errors import ClusterError

Manifest = dict[str, Any]
CONFIGURATION = Path(__file__).with_name("configuration.yaml")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer of the API server: a status and a document."""

    status: int
    document: Manifest

    @property
    def message(self) -> str:
        return str(self.document.get("message"))


class Api:
    """The API server over HTTP, for tests that send thousands of requests: kubectl is too slow."""

    def __init__(self, kubeconfig: Path) -> None:
        document = json.loads(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._server = cluster["server"]
        self._context = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        with tempfile.NamedTemporaryFile() as pair:
            for member in ("client-certificate-data", "client-key-data"):
                pair.write(base64.b64decode(user[member]) + b"\n")
            pair.flush()
            self._context.load_cert_chain(pair.name)

    def request(self, method: str, path: str, body: Manifest | None = None) -> Answer:
        """One request on a connection of its own."""
        request = urllib.request.Request(
            self._server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, context=self._context, timeout=30) as answer:
                return Answer(status=answer.status, document=json.load(answer))
        except urllib.error.HTTPError as error:
            return Answer(status=error.code, document=json.load(error))

    def create_pod(self, namespace: str, manifest: Manifest, *, dry_run: bool = True) -> Answer:
        """Create a pod, with all admission checks. By default the API server does not store it."""
        query = "?dryRun=All" if dry_run else ""
        document = {"apiVersion": "v1", "kind": "Pod", **manifest}
        return self.request("POST", f"/api/v1/namespaces/{namespace}/pods{query}", document)

    def text(self, path: str) -> str:
        """The text of a page that is not JSON."""
        with urllib.request.urlopen(self._server + path, context=self._context, timeout=30) as answer:
            return str(answer.read().decode())

    def webhook_requests(self) -> dict[str, int]:
        """Webhook → requests that the API server has sent to it, failed ones too (its own metric)."""
        counted: dict[str, int] = {}
        for line in self.text("/metrics").splitlines():
            if line.startswith("apiserver_admission_webhook_request_total{"):
                name = line.partition('name="')[2].partition('"')[0]
                counted[name] = counted.get(name, 0) + int(float(line.rpartition(" ")[2]))
        return counted


@dataclass(kw_only=True)
class KeptAuthority:
    """The controller's keeper, and a kubelet of our own that mounts the Secret `delay` seconds late; in one thread."""

    kubeconfig: Path
    """The kubelet's; the controller's is `controller`."""
    controller: Path
    namespace: str
    mount: MountedDirectory
    delay: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop, init=False)
    _stop: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=20)
        self._loop.close()

    async def _run(self) -> None:
        async with (
            await connect({"KUBECONFIG": str(self.kubeconfig)}) as kubelet,
            await connect({"KUBECONFIG": str(self.controller)}) as cluster,
        ):
            keeper = AuthorityKeeper(
                cluster=cluster,
                namespace=self.namespace,
                configuration=names.WEBHOOK_NAME,
                clock=Clock(),
                **self.options,
            )
            tasks = [asyncio.create_task(keeper.keep()), asyncio.create_task(self._mount(kubelet))]
            await self._stop.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _mount(self, cluster: Any) -> None:
        while True:
            with contextlib.suppress(ClusterError):
                async for secret in cluster.watch(SECRETS, name=names.CA_SECRET, namespace=self.namespace):
                    if secret is not None:
                        self._loop.call_later(self.delay, self.mount.swap_secret, secret["data"])
            await asyncio.sleep(0.1)


@dataclass(kw_only=True)
class Installation:
    """An API server with the webhook configured, its authority kept, and one replica running."""

    plane: ControlPlane
    directory: Path
    arguments: tuple[str, ...] = ()
    authority: Mapping[str, Any] = field(default_factory=dict)
    """Options of the AuthorityKeeper."""
    delay: float = 0.0
    namespace: str = field(default_factory=lambda: f"operator-{uuid.uuid4().hex[:8]}")
    webhook: WebhookProcess = field(init=False)
    api: Api = field(init=False)
    _controller: Path = field(init=False)
    _mount: MountedDirectory = field(init=False)
    _kept: contextlib.ExitStack = field(init=False)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, init=False)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.api = Api(self.plane.kubeconfig)
            self.plane.kubectl("create", "namespace", self.namespace)
            rights = controller_rights(self.namespace, f"watchNamespaces={{{self.namespace}}}")
            controller = stack.enter_context(controller_account(self.plane, self.namespace, rights, self.directory))
            self._controller = controller
            self._mount = MountedDirectory(self.directory / "ca")
            self._keep()
            stack.callback(lambda: self._kept.close())  # noqa: PLW0108  # `unkept` replaces it
            stack.callback(self.stop)
            self.start()
            stack.callback(self.plane.kubectl, "delete", "-f", "-", stdin=self.configuration())
            self.plane.kubectl("apply", "-f", "-", stdin=self.configuration())
            eventually(self.trusted, "the API server trusts the webhook")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, listen: int = 0) -> None:
        """Start a replica and wait until it is ready. `listen`: its port; 0 takes a free one."""
        self.webhook = WebhookProcess(self.directory / "ca", *self.arguments, listen=listen)
        self.webhook.wait_ready()

    def stop(self) -> None:
        """Stop the replica."""
        self.webhook.stop()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """The webhook scaled to zero for as long as the context lasts."""
        port = self.webhook.ports["admission"]
        self.stop()
        try:
            yield
        finally:
            self.start(listen=port)

    def _keep(self) -> None:
        self._kept = contextlib.ExitStack()
        self._kept.enter_context(
            KeptAuthority(
                kubeconfig=self.plane.kubeconfig,
                controller=self._controller,
                namespace=self.namespace,
                mount=self._mount,
                delay=self.delay,
                options={"pause": 0.5, **self.authority},
            )
        )

    @contextlib.contextmanager
    def unkept(self) -> Iterator[None]:
        """The authority's keeper stopped for as long as the context lasts: it would repair the configuration."""
        self._kept.close()
        try:
            yield
        finally:
            self._keep()

    def configuration(self) -> str:
        """The MutatingWebhookConfiguration."""
        base = f"https://127.0.0.1:{self.webhook.ports['admission']}"
        return CONFIGURATION.read_text().replace("BASE", base)

    def bundles(self) -> set[str]:
        """The CA bundles of the webhooks in the configuration."""
        stored = self.plane.kubectl.json("get", "mutatingwebhookconfiguration", names.WEBHOOK_NAME)
        return {webhook["clientConfig"].get("caBundle", "") for webhook in stored["webhooks"]}

    def trusted(self) -> bool:
        """Whether an annotated pod is created now: the bundle is written, and the API server has noticed."""
        manifest = {
            "metadata": {"name": "probe", "annotations": {names.INJECT_ANNOTATION: "noreply"}},
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        }
        answer = self.api.create_pod("default", manifest)
        return answer.status == 201 and bool(answer.document["spec"].get("initContainers"))

    def new_namespace(self, **labels: str) -> str:
        """A namespace that pods can be created in."""
        name = f"shop-{uuid.uuid4().hex[:8]}"
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.plane.kubectl.apply(manifest)
        path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        eventually(lambda: self.api.request("GET", path).status == 200, "the default ServiceAccount")
        return name


def documents(text: str) -> list[Manifest]:
    """The YAML documents in a text."""
    return list(yaml.safe_load_all(text))


def pause_until(moment: float) -> None:
    """Sleep until this moment of time.monotonic(), to keep a rate."""
    time.sleep(max(0.0, moment - time.monotonic()))
