"""The API server for a benchmark: as the administrator, many requests at once."""

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import aiohttp

MERGE: Final = {"Content-Type": "application/merge-patch+json"}
PATIENCE: Final = aiohttp.ClientTimeout(total=60)


class Refused(Exception):
    """The API server answered with a 4xx or 5xx; the text is its reason."""


class Call(NamedTuple):
    """One request."""

    method: str
    path: str
    body: Any = None


class Api:
    """An asynchronous context manager. `at_once` bounds the requests of `all`, and so its connections."""

    def __init__(self, kubeconfig: Path, *, at_once: int = 16) -> None:
        document = json.loads(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as pair:
            for member in ("client-certificate-data", "client-key-data"):
                pair.write(base64.b64decode(user[member]) + b"\n")
            pair.flush()
            self.context.load_cert_chain(pair.name)
        self.server: str = cluster["server"]
        self.at_once = at_once

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self.context, limit=0)
        self.session = aiohttp.ClientSession(self.server, connector=connector, timeout=PATIENCE)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """The answer, decoded. Raises Refused."""
        headers: Mapping[str, str] = MERGE if method == "PATCH" else {}
        async with self.session.request(method, path, json=body, headers=headers) as answer:
            text = await answer.read()
            if answer.status >= 400:
                raise Refused(f"{method} {path}: {answer.status}: {text.decode(errors='replace')}")
            return json.loads(text)

    async def all(
        self,
        calls: Iterable[Call],
        *,
        keep: Callable[[Any], Any] = lambda answer: answer,
        refused: list[str] | None = None,
    ) -> list[Any]:
        """What is kept of the answers to many requests. Raises Refused, unless there is a list for the reasons."""
        free = asyncio.Semaphore(self.at_once)

        async def one(call: Call) -> list[Any]:
            async with free:
                try:
                    return [keep(await self.request(*call))]
                except Refused as error:
                    if refused is None:
                        raise
                    refused.append(str(error))
                    return []

        return [kept for found in await asyncio.gather(*(one(call) for call in calls)) for kept in found]
