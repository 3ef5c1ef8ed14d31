"""A program: four of our TLS clients, and Python's own default, against one server; says what each came to, as JSON.

    python strict_x509_probe.py [--strict] URL CA_FILE

It imports nothing but the operator, the command's module for the API server, and the operator's dependencies, so that
any Python that has those can run it. `--strict` sets the flag that Python sets by itself from 3.13 on.
"""

import asyncio
import json
import pathlib
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

OK = "ok"


def be_strict() -> None:
    """Make this Python's default contexts what 3.13 makes them."""
    usual = ssl.create_default_context

    def create(*arguments: Any, **options: Any) -> ssl.SSLContext:
        context = usual(*arguments, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    ssl.create_default_context = create


async def python(url: str, ca: str) -> None:
    """The control: a default context that trusts the authority."""
    context = ssl.create_default_context(cafile=ca)
    await asyncio.to_thread(lambda: urllib.request.urlopen(f"{url}/x", context=context).close())


async def entra(url: str, ca: str) -> None:
    """A token request."""
    from o365mailer_operator.token.endpoints import AllowedHosts
    from o365mailer_operator.token.entra import Entra
    from o365mailer_operator.token.grant import grant_of
    from o365mailer_operator.token.spec import decode_spec

    spec = decode_spec(
        {
            "tenantId": "11111111-1111-4111-8111-111111111111",
            "clientId": "22222222-2222-4222-8222-222222222222",
            "mailbox": "noreply@contoso.com",
            "credential": {"clientSecret": {"secretRefs": [{"name": "noreply", "key": "secret"}]}},
            "authority": {"url": url, "ca": {"secretRef": {"name": "ca"}}},
        }
    )
    secrets = {"noreply": {"secret": b"not-a-secret"}, "ca": {"ca.crt": pathlib.Path(ca).read_bytes()}}  # noqa: ASYNC240 - nothing else runs
    allowed = AllowedHosts.in_addition(authority={url.removeprefix("https://")}, submission=())
    await Entra().mint(grant_of(spec, _Held(secrets), allowed=allowed))


class _Held:
    """What the spec names (token.credential.Source)."""

    def __init__(self, secrets: dict[str, dict[str, bytes]]) -> None:
        self.secret = secrets.get


async def cluster(url: str, ca: str) -> None:
    """A request of the controller's Kubernetes client."""
    async with _cluster(url, ca) as connected:
        from o365mailer_operator.controller.cluster import SECRETS

        await connected.get(SECRETS, name="x", namespace="default")


async def kopf(url: str, ca: str) -> None:
    """A request of kopf's, with the login that the watch gives it."""
    from kopf._cogs.clients.auth import APIContext

    from o365mailer_operator.controller.watch import Watch

    async with _cluster(url, ca) as connected:
        watch = Watch(connected, namespaces=(), deliver=lambda *_: None)
        context = APIContext(await watch._login())  # noqa: SLF001 - what kopf calls
        async with context.session as session, session.get(f"{url}/x") as answer:
            answer.raise_for_status()


async def command(url: str, ca: str) -> None:
    """A request of the command `o365mailer`."""
    from kubernetes.client import Configuration

    from o365mailer_cli.cluster import SECRETS, Cluster

    configuration = Configuration()
    configuration.host, configuration.ssl_ca_cert = url, ca
    connected = Cluster(configuration, namespace="default", identity="a user", timeout=10)
    await asyncio.to_thread(connected.get, SECRETS, name="x", namespace="default")


def _cluster(url: str, ca: str) -> Any:
    from kubernetes.aio import client

    from o365mailer_operator.controller.cluster import Cluster

    configuration = client.Configuration()
    configuration.host, configuration.ssl_ca_cert = url, ca
    return Cluster(configuration)


async def outcome(probe: Callable[[str, str], Awaitable[None]], url: str, ca: str) -> str:
    """`ok`, or the error in words."""
    try:
        await probe(url, ca)
    except Exception as error:  # noqa: BLE001 - each client has errors of its own
        return f"{type(error).__name__}: {error}"
    return OK


async def main(url: str, ca: str) -> None:
    """Prints a line for the test."""
    found = {probe.__name__: await outcome(probe, url, ca) for probe in (python, entra, cluster, kopf, command)}
    print(json.dumps({"python": sys.version.split()[0], "outcomes": found}))


if __name__ == "__main__":
    if "--strict" in sys.argv:
        be_strict()
    asyncio.run(main(*sys.argv[-2:]))
