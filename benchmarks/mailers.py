"""Many mailers of many applications of one tenant, and the emulator that is their Office 365.

Each application has a namespace with its Secret, which its mailers share, as a team's mailers do.
"""

import asyncio
import base64
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from support.emulator_client import EmulatorClient

from benchmarks.api import Api, Call

API: Final = "/apis/o365mailer.dev/v1alpha1"
TENANT: Final = "11111111-1111-4111-8111-111111111111"
SECRET: Final = "for-the-benchmark-not-a-secret"
ANSWER: Final = 0.45
"""Seconds that Entra takes for a token."""
LIFETIME: Final = 4500.0
"""Seconds of a token's life, as Entra's are on average: none is due for renewal in a run."""

Name = tuple[str, str]
"""Namespace and name of a mailer."""


def office365(folder: Path, *, mailers: int, applications: int) -> EmulatorClient:
    """An emulator whose tenant has these applications, and a mailbox for each mailer."""
    config = {
        "tenants": [{"id": TENANT, "domains": ["contoso.com"]}],
        "applications": [
            {"clientId": client_id(number), "tenant": TENANT, "secrets": [{"value": SECRET}]}
            for number in range(applications)
        ],
        "mailboxes": [
            {
                "address": f"app-{number}@contoso.com",
                "tenant": TENANT,
                "applications": [client_id(number % applications)],
            }
            for number in range(mailers)
        ],
    }
    path = folder / "office365.json"
    path.write_text(json.dumps(config))
    emulator = EmulatorClient(arguments=["--config", str(path)])
    answering(emulator)
    return emulator


def answering(emulator: EmulatorClient) -> None:
    """Entra as it is on a good day. It ends what stalls."""
    emulator.control("DELETE", "/script")
    emulator.script("token", delay=ANSWER, times=None)
    emulator.settings(tokenLifetime=LIFETIME)


def client_id(application: int) -> str:
    """The client id of an application."""
    return f"22222222-2222-4222-8222-{application:012}"


class Mailers:
    """So many mailers of so many applications."""

    def __init__(self, api: Api, emulator: EmulatorClient, *, mailers: int, applications: int) -> None:
        self.api, self.emulator = api, emulator
        self.namespaces = [f"team-{number}" for number in range(applications)]
        self.names: list[Name] = [
            (self.namespaces[number % applications], f"app-{number}") for number in range(mailers)
        ]

    async def make_namespaces(self) -> None:
        """The namespaces of the teams, with the authority of the emulator."""
        for kind, path in (("Namespace", "/api/v1/namespaces"), ("Secret", "")):
            await self.api.all(
                Call("POST", path or f"/api/v1/namespaces/{name}/secrets", self._of_a_team(kind, name))
                for name in self.namespaces
            )

    async def give_credentials(self) -> None:
        """The Secret of each application."""
        body = {"metadata": {"name": "entra"}, "stringData": {"secret": SECRET}}
        await self.api.all(Call("POST", f"/api/v1/namespaces/{name}/secrets", body) for name in self.namespaces)

    async def create(self) -> None:
        """All mailers."""
        await self.api.all(
            Call("POST", f"{API}/namespaces/{namespace}/o365mailers", self._manifest(number, name))
            for number, (namespace, name) in enumerate(self.names)
        )

    async def objects(self) -> dict[Name, Any]:
        """All mailers as the API server has them."""
        listed = await self.api.request("GET", f"{API}/o365mailers?resourceVersion=0")
        return {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in listed["items"]}

    async def wait_until_ready(self) -> float:
        """Seconds until all are Ready."""
        return await self._wait_until("Ready")

    async def wait_until_logged_in(self) -> float:
        """Seconds until the controller has told of each that Exchange takes its login."""
        return await self._wait_until("Authenticated")

    async def _wait_until(self, condition: str, *, within: float = 900) -> float:
        began = time.monotonic()
        while True:
            found = await self.objects()
            true = sum(_is_true(each, condition) for each in found.values())
            took = time.monotonic() - began
            if true == len(self.names):
                return took
            assert took < within, f"{true} of {len(self.names)} mailers are {condition} after {took:.0f} s"
            await asyncio.sleep(1)  # a LIST of all costs both sides some time

    async def refresh(self, chosen: Iterable[Name], request: str) -> None:
        """Ask for new tokens of these mailers."""
        body = {"metadata": {"annotations": {"o365mailer.dev/refresh": request}}}
        await self.api.all(Call("PATCH", mailer_path(name), body) for name in chosen)

    async def tokens(self, chosen: Iterable[Name]) -> dict[Name, str]:
        """The identifier (`uti`) of the token that each of these mailers has."""
        names = list(chosen)
        found = await self.api.all(Call("GET", token_path(name)) for name in names)
        return {name: _uti(secret) for name, secret in zip(names, found, strict=True)}

    def issued(self, since: float) -> dict[str, float]:
        """The tokens that Entra has issued since an instant: when, by identifier."""
        return {each["uti"]: each["issued"] for each in self.emulator.tokens() if each["issued"] >= since}

    def _of_a_team(self, kind: str, namespace: str) -> Any:
        if kind == "Namespace":
            return {"metadata": {"name": namespace}}
        return {"metadata": {"name": "emulator-ca"}, "stringData": {"ca.crt": Path(self.emulator.ca_file).read_text()}}

    def _manifest(self, number: int, name: str) -> Any:
        trust = {"ca": {"secretRef": {"name": "emulator-ca"}}}
        smtp = {"host": self.emulator.smtp_host, "port": self.emulator.smtp_port, **trust}
        return {
            "apiVersion": "o365mailer.dev/v1alpha1",
            "kind": "O365Mailer",
            "metadata": {"name": name},
            "spec": {
                "tenantId": TENANT,
                "clientId": client_id(number % len(self.namespaces)),
                "mailbox": f"{name}@contoso.com",
                "authority": {"url": self.emulator.authority, **trust},
                "submission": smtp,
                "credential": {"clientSecret": {"secretRefs": [{"name": "entra", "key": "secret"}]}},
            },
        }


def mailer_path(mailer: Name) -> str:
    """Where the API server has a mailer."""
    return f"{API}/namespaces/{mailer[0]}/o365mailers/{mailer[1]}"


def token_path(mailer: Name) -> str:
    """Where the API server has its token Secret."""
    return f"/api/v1/namespaces/{mailer[0]}/secrets/o365mailer.{mailer[1]}"


def _is_true(mailer: Any, condition: str) -> bool:
    conditions = mailer.get("status", {}).get("conditions", [])
    return any((each["type"], each["status"]) == (condition, "True") for each in conditions)


def _uti(secret: Any) -> str:
    token = base64.b64decode(secret["data"]["access_token"]).decode()
    claims = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["uti"])
