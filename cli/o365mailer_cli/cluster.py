"""The API server, as one user. With `kubeconfig` the only module of the command that imports `kubernetes`.

Of that client it uses what it makes of a kubeconfig (certificates, logins, proxies) and its HTTP pool. Objects are the
API's own JSON (`dict`), not the client's models. Every failure is a ClusterError in one line.
"""

import contextlib
import json
import math
import ssl
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from kubernetes.client import ApiClient, Configuration
from urllib3.exceptions import HTTPError, NewConnectionError, ProxyError, SSLError
from urllib3.util import create_urllib3_context

from o365mailer_cli.concurrently import CONNECTIONS
from o365mailer_cli.errors import (
    Absent,
    ClusterError,
    Conflict,
    Forbidden,
    Refused,
    Unavailable,
    WrongKubeconfig,
)
from o365mailer_contract.names import API_VERSION, DOCS, PLURAL

Manifest = dict[str, Any]

JSON: Final = "application/json, */*"
METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""What an API server is asked to answer with (kubernetes.io, "Kubernetes API Concepts", metadata only)."""
PAGE: Final = 500
"""Objects of one page of a list, as kubectl asks for them."""
MESSAGE_LIMIT: Final = 400
"""Characters of the API server's sentence: it can quote whole schemas."""
POD_LIMIT: Final = 8 << 20
"""Bytes of what a pod serves: any pod may call itself a relay, and never end."""


@dataclass(frozen=True)
class Resource:
    """Where a kind of object lives in the API."""

    root: str
    plural: str
    namespaced: bool = True

    def path(self, *, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of one object, or of the collection; without a namespace, of all namespaces' collection."""
        parts = [self.root]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe=":") for part in (name, subresource) if part]
        return "/".join(parts)


MAILERS: Final = Resource(f"/apis/{API_VERSION}", PLURAL)
CRDS: Final = Resource("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", namespaced=False)
WEBHOOKS: Final = Resource("/apis/admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", namespaced=False)
NAMESPACES: Final = Resource("/api/v1", "namespaces", namespaced=False)
NODES: Final = Resource("/api/v1", "nodes", namespaced=False)
PODS: Final = Resource("/api/v1", "pods")
SERVICES: Final = Resource("/api/v1", "services")
SECRETS: Final = Resource("/api/v1", "secrets")
CONFIG_MAPS: Final = Resource("/api/v1", "configmaps")
SERVICE_ACCOUNTS: Final = Resource("/api/v1", "serviceaccounts")
EVENTS: Final = Resource("/api/v1", "events")
REPLICATION_CONTROLLERS: Final = Resource("/api/v1", "replicationcontrollers")
DEPLOYMENTS: Final = Resource("/apis/apps/v1", "deployments")
REPLICA_SETS: Final = Resource("/apis/apps/v1", "replicasets")
STATEFUL_SETS: Final = Resource("/apis/apps/v1", "statefulsets")
DAEMON_SETS: Final = Resource("/apis/apps/v1", "daemonsets")
JOBS: Final = Resource("/apis/batch/v1", "jobs")
CRON_JOBS: Final = Resource("/apis/batch/v1", "cronjobs")
LEASES: Final = Resource("/apis/coordination.k8s.io/v1", "leases")
ENDPOINT_SLICES: Final = Resource("/apis/discovery.k8s.io/v1", "endpointslices")
OTHERS_ACCESS: Final = Resource("/apis/authorization.k8s.io/v1", "subjectaccessreviews", namespaced=False)
ACCESS_REVIEWS: Final = Resource("/apis/authorization.k8s.io/v1", "selfsubjectaccessreviews", namespaced=False)


class Cluster:
    """One API server, used as one user. Every request has a deadline.

    Every verb raises ClusterError (its subclasses are in `errors`).
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        namespace: str,
        identity: str,
        timeout: float,
        impersonation: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.namespace = namespace
        """Of `-n`, or of the context."""
        self.identity = identity
        """Who asks, for messages: the context and the user."""
        self.timeout = timeout
        """Seconds."""
        self.server = str(configuration.host).rstrip("/")
        # A retry would hide that a server is slow or away, and multiply the deadline.
        configuration.retries = False
        configuration.connection_pool_maxsize = CONNECTIONS
        self._configuration = configuration
        self._impersonation = impersonation
        try:
            with warnings.catch_warnings(action="ignore"):  # urllib3's of a SOCKS proxy, before its ImportError
                self._api = ApiClient(configuration)
        except (HTTPError, ValueError, ImportError):  # the text may have the proxy's password
            raise WrongKubeconfig(
                "The proxy on the way to the API server is not a URL such as http://proxy.example:3128. SOCKS is not "
                "supported. HTTPS_PROXY or the kubeconfig names the proxy."
            ) from None
        self._api.user_agent = "o365mailer"
        if configuration.verify_ssl:
            settings = self._api.rest_client.pool_manager.connection_pool_kw
            settings["ssl_context"] = _tls(configuration)
            # urllib3 would load these into the context again for each connection, while other threads use it.
            for loaded in ("ca_certs", "ca_cert_data", "cert_file", "key_file"):
                settings.pop(loaded, None)

    def get(self, resource: Resource, *, name: str, namespace: str | None = None) -> Manifest:
        """The object. Raises Absent."""
        return self._json("GET", resource.path(namespace=namespace, name=name))

    def find(self, resource: Resource, *, name: str, namespace: str | None = None) -> Manifest | None:
        """The object, or None if there is none. Raises Absent if the API server does not serve the kind."""
        try:
            return self.get(resource, name=name, namespace=namespace)
        except Absent as error:
            if error.kind_missing:
                raise
            return None

    def list_all(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> list[Manifest]:
        """All objects, of one namespace or of all, page by page. `labels` and `fields` are selectors.

        With `metadata_only` an object is its metadata alone, which is a tenth of a pod.
        """
        accept = METADATA if metadata_only else JSON
        query = {"limit": str(PAGE), "labelSelector": labels, "fieldSelector": fields, "continue": ""}
        found: list[Manifest] = []
        while True:
            page = self._json("GET", resource.path(namespace=namespace), query=query, accept=accept)
            found += page["items"] or []  # null where there are none
            query["continue"] = page.get("metadata", {}).get("continue") or ""
            if not query["continue"]:
                return found

    def create(
        self, resource: Resource, manifest: Manifest, *, namespace: str | None = None, dry_run: bool = False
    ) -> Manifest:
        """The created object; with `dry_run` all of admission runs, and nothing is stored.

        Raises Conflict if the name is taken, Refused if it is not taken as it is.
        """
        query = {"dryRun": "All"} if dry_run else None
        return self._json("POST", resource.path(namespace=namespace), query=query, body=manifest)

    def request_token(self, *, name: str, namespace: str, audience: str, seconds: int) -> str:
        """A new token of a ServiceAccount, as `kubectl create token` gets it."""
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": seconds},
        }
        path = SERVICE_ACCOUNTS.path(namespace=namespace, name=name, subresource="token")
        return str(self._json("POST", path, body=request)["status"]["token"])

    def patch(self, resource: Resource, change: Manifest, *, name: str, namespace: str | None = None) -> Manifest:
        """The object after a JSON merge patch (RFC 7386)."""
        return self._json("PATCH", resource.path(namespace=namespace, name=name), body=change)

    def delete(self, resource: Resource, *, name: str, namespace: str | None = None) -> None:
        """Delete the object, and then what it owns. It is no error if it is gone already."""
        with contextlib.suppress(Absent):
            path = resource.path(namespace=namespace, name=name)
            self._json("DELETE", path, query={"propagationPolicy": "Background"})

    def text(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        timeout: float | None = None,
        limit: float = math.inf,
    ) -> str:
        """What the API server gives for a path: a log, metrics through a proxy, a version. `limit`: bytes.

        Raises Absent, and Unavailable if there is more.
        """
        with self._exchange("GET", path, query=query, timeout=timeout, limit=limit) as answer:
            return answer.decode("utf-8", "replace")

    def proxied(self, pod: Manifest, port: int, path: str, *, timeout: float) -> str:
        """What a pod serves on a port, through the API server and the kubelet's network. Needs `pods/proxy`."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        return self.text(
            f"{PODS.path(namespace=namespace, name=f'{name}:{port}', subresource='proxy')}{path}",
            timeout=timeout,
            limit=POD_LIMIT,
        )

    def watch(
        self, resource: Resource, *, name: str, namespace: str | None = None, seconds: float
    ) -> Iterator[Manifest | None]:
        """The object now, and again after each of its changes; None while it does not exist. Ends after `seconds`."""
        end = time.monotonic() + seconds
        selector = {"fieldSelector": f"metadata.name={name}"}
        path = resource.path(namespace=namespace)
        while (left := end - time.monotonic()) > 0:
            listed = self._json("GET", path, query=selector)
            yield next(iter(listed["items"] or ()), None)
            query = {
                **selector,
                "watch": "true",
                "timeoutSeconds": str(max(1, int(left))),
                "resourceVersion": listed["metadata"]["resourceVersion"],
            }
            try:
                for change in self._lines(path, query, timeout=left):
                    if change["type"] == "ERROR":  # an expired version: list again
                        break
                    yield None if change["type"] == "DELETED" else change["object"]
            except Unavailable:
                if time.monotonic() < end:
                    raise

    def may(self, verb: str, resource: Resource, *, namespace: str | None = None, subresource: str = "") -> bool:
        """Whether the user has a right (SelfSubjectAccessReview, which every user may ask)."""
        group = resource.root.removeprefix("/apis/").rpartition("/")[0] if resource.root.startswith("/apis/") else ""
        attributes = {"verb": verb, "group": group, "resource": resource.plural, "subresource": subresource}
        if namespace:
            attributes["namespace"] = namespace
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        return bool(self.create(ACCESS_REVIEWS, review)["status"].get("allowed"))

    def version(self) -> str:
        """Of the API server, such as `v1.35.4`."""
        return str(self._json("GET", "/version")["gitVersion"])

    def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        accept: str = JSON,
    ) -> Manifest:
        with self._exchange(method, path, query=query, body=body, accept=accept) as answer:
            try:
                document = json.loads(answer)
            except ValueError:
                document = None
            if not isinstance(document, dict):
                raise Unavailable(
                    f"{self.server} does not answer as a Kubernetes API server does. Is a proxy or a login page in "
                    "between? Look at the kubeconfig's server and at HTTPS_PROXY."
                )
            return document

    @contextlib.contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        timeout: float | None = None,
        accept: str = JSON,
        limit: float = math.inf,
    ) -> Iterator[bytes]:
        seconds = timeout or self.timeout
        end = time.monotonic() + seconds
        with self._translated(seconds):
            response = self._open(method, path, query=query, body=body, timeout=seconds, accept=accept)
            try:
                content = _read(response, end, limit)
            except Unavailable:
                response.close()  # more is on its way
                raise
            finally:
                response.release_conn()
        if response.status >= 400:
            self._raise(response.status, content)
        yield content

    def _lines(self, path: str, query: Mapping[str, str], *, timeout: float) -> Iterator[Manifest]:
        with self._translated(timeout):
            response = self._open("GET", path, query=query, body=None, timeout=timeout + self.timeout)
            try:
                if response.status >= 400:
                    self._raise(response.status, response.read())
                rest = b""
                while chunk := response.read1(65536):
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield from (json.loads(line) for line in lines)
            finally:
                response.close()

    def _open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        body: Manifest | None,
        timeout: float,
        accept: str = JSON,
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        asked = [(key, value) for key, value in (query or {}).items() if value]
        _, url, headers, *_ = self._api.param_serialize(
            method, path, header_params=headers, auth_settings=["BearerToken"]
        )
        repeated = urllib3.HTTPHeaderDict(headers)
        for name, value in self._impersonation:
            repeated.add(name, value)
        answer: urllib3.BaseHTTPResponse = self._api.rest_client.pool_manager.request(
            method,
            f"{url}?{urlencode(asked)}" if asked else url,
            headers=repeated,
            body=None if body is None else json.dumps(body).encode(),
            timeout=urllib3.Timeout(total=timeout),
            preload_content=False,
            retries=False,
            redirect=False,
        )
        return answer

    @contextlib.contextmanager
    def _translated(self, seconds: float) -> Iterator[None]:
        try:
            yield
        except NewConnectionError as problem:  # a kind of timeout, says urllib3
            raise Unavailable(self._why(problem)) from None
        except urllib3.exceptions.TimeoutError:
            raise Unavailable(
                f"{self.server} does not answer within {seconds:g} s. Is the address right, and a VPN or a proxy "
                "needed? --request-timeout waits longer."
            ) from None
        except (HTTPError, OSError, ValueError) as problem:
            if isinstance(problem, ClusterError):  # some of ours are OSErrors
                raise
            raise Unavailable(self._why(problem)) from None

    def _why(self, problem: Exception) -> str:
        if isinstance(problem, ProxyError):
            proxy = urlsplit(str(self._configuration.proxy))
            return (
                f"The proxy {proxy.hostname}:{proxy.port} on the way to {self.server} does not work: "
                f"{_innermost(problem)}. HTTPS_PROXY or the kubeconfig names it; NO_PROXY lists the exceptions."
            )
        if isinstance(problem, SSLError):
            return (
                f"The TLS connection to {self.server} failed: {_innermost(problem)}. Is the kubeconfig this "
                "cluster's, and is TLS inspected in between? certificate-authority-data has to be the cluster's."
            )
        if isinstance(problem, NewConnectionError):
            why = _innermost(problem)
            return f"{self.server} cannot be reached: {why}. Is the cluster running, and the address right?"
        return f"The connection to {self.server} broke: {_innermost(problem)}. Try again."

    def _raise(self, status: int, content: bytes) -> NoReturn:
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        told = document if isinstance(document, dict) and document.get("kind") == "Status" else None
        message = str((told or {}).get("message") or content[:MESSAGE_LIMIT].decode("utf-8", "replace")).strip()
        message = one_line(message) if message else f"HTTP status {status}"
        if status == 401:
            raise Forbidden(
                f"The API server does not accept the login of {self.identity}. Log in again, or name another --context."
            )
        if status == 403:
            raise Forbidden(f"{message}. {DOCS}/command.md#rights says which rights the command needs.")
        if status == 404:
            if told and (told.get("details") or {}).get("name"):
                raise Absent(f"There is no such object: {message}.")
            raise Absent(f"The API server does not serve this: {message}.", kind_missing=True)
        if status == 409:
            raise Conflict(f"{message}.")
        if status == 429 or status >= 500:
            raise Unavailable(f"The API server answered {status}: {message}.")
        if status < 500 and not told:
            raise Unavailable(f"{self.server} answered {status}: {message}. Is a proxy in between?")
        raise Refused(f"The API server refused it: {message}.")


def _tls(configuration: Configuration) -> ssl.SSLContext:
    """TLS that verifies chain, name and dates. Raises WrongKubeconfig.

    Many clusters' authorities lack the key identifiers that Python asks for from 3.13 on (VERIFY_X509_STRICT):
    github.com/kubernetes-client/python/issues/2394.
    """
    context = create_urllib3_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        if configuration.ssl_ca_cert or configuration.ca_cert_data:
            context.load_verify_locations(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
        else:
            context.load_default_certs()
    except (OSError, ValueError) as problem:
        raise WrongKubeconfig(f"The kubeconfig's certificate-authority is no certificate: {problem}.") from None
    try:
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    except (OSError, ValueError) as problem:
        told = f"The kubeconfig's client certificate and key cannot be used: {problem}."
        raise WrongKubeconfig(told) from None
    return context


def _read(response: urllib3.BaseHTTPResponse, end: float, limit: float) -> bytes:
    """The whole body, until the deadline: the pool's own timeout begins anew with each packet."""
    parts, size = [], 0
    while chunk := response.read1(65536):
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            raise Unavailable(f"it serves more than {limit:.0f} bytes")
        if time.monotonic() > end:
            raise urllib3.exceptions.TimeoutError
    return b"".join(parts)


def _innermost(problem: BaseException) -> str:
    """The text of the first cause, without the client's own names in it."""
    seen: BaseException = problem
    while (cause := getattr(seen, "original_error", None) or seen.__cause__ or seen.__context__) is not None:
        seen = cause
    if isinstance(seen, ssl.SSLCertVerificationError):
        return seen.verify_message
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror
    return one_line(seen)


def one_line(error: object) -> str:
    """The text of an error of another library."""
    return " ".join(str(error).split()).rstrip(".")[:MESSAGE_LIMIT] or type(error).__name__
