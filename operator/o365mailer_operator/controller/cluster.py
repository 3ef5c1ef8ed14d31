"""The API server, through ten verbs. The only module that knows `kubernetes.aio`.

Objects are the API's own JSON (`dict`), not the client's models: unknown members of an object survive a
read-modify-write, and the typed half of the client (most of its 84 MB) is never built. Every call has a timeout, and
every failure is one of cluster_errors.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Self

import aiohttp
from kubernetes.aio import client, config

from o365mailer_contract import names
from o365mailer_operator.controller.cluster_errors import Absent, ClusterError, Refused, Unavailable, error
from o365mailer_operator.controller.mailer import Manifest
from o365mailer_operator.token.schema import OPENAPI

REQUEST_TIMEOUT: Final = 10.0
"""Seconds for one request, the connection included. Shorter than a Lease, so that a hung call cannot outlive it."""
WATCH_SECONDS: Final = 300
"""Seconds until a watch is opened again, which notices a connection that a middlebox dropped."""
MERGE_PATCH: Final = "application/merge-patch+json"
JSON: Final = "application/json"
METADATA: Final = f"{JSON};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,{JSON}"
"""A list of metadata alone."""
PAGE: Final = 20
"""Objects of a LIST that are in memory at once: each may have 1.5 MiB, most of it in its metadata."""
FROM_CACHE: Final = ("resourceVersion", "0")
"""Any version that the API server has in memory, without a request to etcd."""


@dataclasses.dataclass(frozen=True)
class Resource:
    """Where a kind of object lives in the API."""

    root: str
    plural: str
    namespaced: bool = True

    def path(self, *, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of one object, or of the collection; without a namespace, of all namespaces' collection."""
        parts = [self.root]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


MAILERS: Final = Resource(f"/apis/{names.API_VERSION}", names.PLURAL)
SECRETS: Final = Resource("/api/v1", "secrets")
CONFIG_MAPS: Final = Resource("/api/v1", "configmaps")
SERVICE_ACCOUNTS: Final = Resource("/api/v1", "serviceaccounts")
LEASES: Final = Resource("/apis/coordination.k8s.io/v1", "leases")
EVENTS: Final = Resource("/apis/events.k8s.io/v1", "events")
WEBHOOKS: Final = Resource("/apis/admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", namespaced=False)


@dataclasses.dataclass(frozen=True)
class Login:
    """How to reach the API server, for a client that opens its own connections. `token` is a secret."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    key_path: str | None
    token: str | None = dataclasses.field(repr=False)


class Cluster:
    """One API server, used as one identity. An asynchronous context manager.

    Every verb raises ClusterError (its subclasses are in cluster_errors).
    """

    def __init__(self, configuration: client.Configuration) -> None:
        # Many clusters' authorities lack the key identifiers that Python asks for from 3.13 on (VERIFY_X509_STRICT):
        # github.com/kubernetes-client/python/issues/2394. Chain, name and dates are verified all the same.
        configuration.disable_strict_ssl_verification = True
        configuration.client_session_kwargs = {"trust_env": False}  # a pod's HTTPS_PROXY is meant for the internet
        self._api = client.ApiClient(configuration)
        self._api.user_agent = "o365mailer-controller"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]  # the client's own, untyped

    async def login(self) -> Login:
        """The current address and identity (a pod's token changes every hour)."""
        settings = self._api.configuration
        bearer = (await settings.auth_settings()).get("BearerToken", {}).get("value", "")
        return Login(
            server=settings.host,
            ca_path=settings.ssl_ca_cert,
            certificate_path=settings.cert_file,
            key_path=settings.key_file,
            token=bearer.partition(" ")[2] or bearer or None,
        )

    async def get(self, resource: Resource, *, name: str, namespace: str | None = None) -> Manifest:
        """The object. Raises Absent."""
        return await self._request("GET", resource.path(namespace=namespace, name=name))

    async def find(
        self, resource: Resource, *, name: str, namespace: str | None = None, cached: bool = False
    ) -> Manifest | None:
        """The object, or None. With `cached`, as the API server's watch cache has it."""
        query = [FROM_CACHE] if cached else None
        try:
            return await self._request("GET", resource.path(namespace=namespace, name=name), query=query)
        except Absent:
            return None

    async def list_metadata(self, resource: Resource, *, namespace: str | None = None) -> AsyncIterator[Manifest]:
        """The `metadata` of all objects, read in pages. From the API server's cache they would come in one piece,
        whatever limit is asked for. Raises Absent."""
        path, page = resource.path(namespace=namespace), ""
        while True:
            query = [("limit", str(PAGE)), *([("continue", page)] if page else [])]
            listed = await self._request("GET", path, query=query, accept=METADATA)
            for item in listed["items"] or ():  # null where there are none
                yield item["metadata"]
            page = listed["metadata"].get("continue") or ""
            if not page:
                return

    async def count(self, resource: Resource, *, namespace: str | None = None) -> int:
        """How many there are, at most 1: tells whether the kind is served and may be listed. Raises Absent."""
        listed = await self._request("GET", resource.path(namespace=namespace), query=[("limit", "1")])
        return len(listed["items"])

    async def schema(self) -> Manifest:
        """The OpenAPI document of our API group. Raises Absent while there is no CRD."""
        return await self._request("GET", OPENAPI)

    async def create(self, resource: Resource, manifest: Manifest, *, namespace: str | None = None) -> Manifest:
        """The created object. Raises Conflict if the name is taken."""
        return await self._request("POST", resource.path(namespace=namespace), body=manifest)

    async def replace(self, resource: Resource, manifest: Manifest, *, namespace: str | None = None) -> Manifest:
        """The replaced object. With `metadata.resourceVersion`, raises Conflict if the object has changed since."""
        return await self._request(
            "PUT", resource.path(namespace=namespace, name=manifest["metadata"]["name"]), body=manifest
        )

    async def patch(self, resource: Resource, change: Manifest, *, name: str, namespace: str | None = None) -> Manifest:
        """The object after a JSON merge patch (RFC 7386). With a resourceVersion in it, may raise Conflict."""
        return await self._request("PATCH", resource.path(namespace=namespace, name=name), body=change)

    async def patch_status(
        self, resource: Resource, change: Manifest, *, name: str, namespace: str | None = None
    ) -> Manifest:
        """The same on the status subresource."""
        path = resource.path(namespace=namespace, name=name, subresource="status")
        return await self._request("PATCH", path, body=change)

    async def request_token(self, *, name: str, namespace: str, audience: str, seconds: int) -> str:
        """A new token of a ServiceAccount, bound to no other object. Raises Absent.

        https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
        """
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": seconds},
        }
        path = SERVICE_ACCOUNTS.path(namespace=namespace, name=name, subresource="token")
        answer = await self._request("POST", path, body=request)
        return str(answer["status"]["token"])

    async def watch(
        self, resource: Resource, *, name: str, namespace: str | None = None
    ) -> AsyncIterator[Manifest | None]:
        """The object now, and again after each of its changes; None while it does not exist.

        Ends after WATCH_SECONDS, or when the API server ends it: call again after a pause. Two calls miss nothing in
        between, because each begins with the object as it is.
        """
        selector = [("fieldSelector", f"metadata.name={name}")]
        path = resource.path(namespace=namespace)
        listed = await self._request("GET", path, query=selector)
        yield next(iter(listed["items"]), None)
        query = [*selector, ("watch", "true"), ("timeoutSeconds", str(WATCH_SECONDS))]
        query.append(("resourceVersion", listed["metadata"]["resourceVersion"]))
        async for change in self._stream(path, query):
            yield None if change["type"] == "DELETED" else change["object"]

    async def _stream(self, path: str, query: list[tuple[str, str]]) -> AsyncIterator[Manifest]:
        request = f"watch {path}"
        with _translated(request):
            async with asyncio.timeout(REQUEST_TIMEOUT):
                answer = await self._open("GET", path, query=query, body=None, timeout=WATCH_SECONDS + REQUEST_TIMEOUT)
            try:
                await _raise_refusal(answer, request)
                async for line in answer.response.content:
                    change = json.loads(line)
                    if change["type"] == "ERROR":
                        refusal = change["object"]
                        raise error(
                            status=refusal.get("code", 500), request=request, message=str(refusal.get("message"))
                        )
                    if change["type"] != "BOOKMARK":
                        yield change
            finally:
                answer.response.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Manifest | None = None,
        query: list[tuple[str, str]] | None = None,
        accept: str = JSON,
    ) -> Manifest:
        request = f"{method} {path}"
        with _translated(request):
            async with asyncio.timeout(REQUEST_TIMEOUT):
                answer = await self._open(
                    method, path, query=query or [], body=body, timeout=REQUEST_TIMEOUT, accept=accept
                )
                await _raise_refusal(answer, request)
                document: Manifest = json.loads(await answer.read())
                return document

    async def _open(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]],
        body: Manifest | None,
        timeout: float,
        accept: str = JSON,
    ) -> Any:  # the client's RESTResponse: untyped there, and it does not leave this module
        headers = {"Accept": accept}
        if method == "PATCH":
            headers["Content-Type"] = MERGE_PATCH
        serialized = await self._api.param_serialize(
            method, path, query_params=query, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        return await self._api.call_api(*serialized, _request_timeout=aiohttp.ClientTimeout(total=timeout))


def micro_time(instant: datetime.datetime) -> str:
    """An instant as the API's MicroTime: UTC, with six decimals of the second."""
    return f"{instant.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


async def connect(environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster of the pod that we run in; elsewhere the one of `KUBECONFIG` (its current context).

    Raises Refused if neither names an API server.
    """
    configuration = client.Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in environment:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=environment.get("KUBECONFIG"), client_configuration=configuration, persist_config=False
            )
    except Exception as problem:  # noqa: BLE001 - the loader raises whatever a broken file leads it to
        raise Refused(
            f"cannot find the API server: {problem}; run in a pod with a ServiceAccount, or set KUBECONFIG to a file"
        ) from None
    return Cluster(configuration)


async def _raise_refusal(answer: Any, request: str) -> None:
    if answer.status < 400:
        return
    text = await answer.read()
    try:
        message = str(json.loads(text).get("message"))
    except (ValueError, AttributeError):
        message = str(answer.reason)
    raise error(status=answer.status, request=request, message=message)


@contextlib.contextmanager
def _translated(request: str) -> Any:
    try:
        yield
    except TimeoutError:
        raise Unavailable(f"{request}: no answer within {REQUEST_TIMEOUT:g} s") from None
    except (aiohttp.ClientError, ssl.SSLError, OSError, json.JSONDecodeError) as problem:
        if isinstance(problem, ClusterError):  # two of ours are OSErrors
            raise
        raise Unavailable(f"{request}: {type(problem).__name__}: {problem}") from None
