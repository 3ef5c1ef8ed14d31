"""The control API: JSON over plain HTTP. docs/emulator.md is its reference.

It has no authentication: every client that reaches it controls the emulator. It never shows a secret or a token, except
the token that ``POST /tokens`` creates.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from o365mailer_emulator import page
from o365mailer_emulator.aadsts import ENTRIES
from o365mailer_emulator.behaviour import PROFILES
from o365mailer_emulator.errors import ConfigurationError
from o365mailer_emulator.ledger import Message
from o365mailer_emulator.replies import NAMED
from o365mailer_emulator.script import Rule, shown
from o365mailer_emulator.service import Service
from o365mailer_emulator.signing import TokenRequest
from o365mailer_emulator.tenancy import MASK, Document, check_settings, decode, patched, read_tenancy

LONGEST_WAIT = 300.0  # seconds that a long poll may ask for


class TokenOrder(Document):
    """The body of ``POST /tokens``. ``started`` is seconds from now, negative for a token that was issued earlier."""

    client_id: str | None = None
    audience: str | None = None
    lifetime: float = 3600
    started: float = 0
    foreign: bool = False


@dataclasses.dataclass(frozen=True)
class Control:
    """The handlers of the control address. ``addresses`` returns the state file's document; ``ca`` is the CA in PEM."""

    service: Service
    addresses: Callable[[], dict[str, Any]]
    ca: bytes

    def application(self) -> web.Application:
        """Every address of the control API, and the page."""
        app = web.Application(middlewares=[_explained], client_max_size=64 << 20)
        routes = page.Pages(self.service, self.addresses)
        app.add_routes(
            [
                web.get("/", routes.overview),
                web.get("/message/{number:[0-9]{1,9}}", routes.message),
                web.get("/message/{number:[0-9]{1,9}}.eml", routes.source),
                web.get("/healthz", self.healthz),
                web.get("/state", self.state),
                web.get("/ca.crt", self.ca_certificate),
                web.get("/messages", self.messages),
                web.get("/counters", self.counters),
                web.get("/statistics", self.statistics),
                web.get("/tokens", self.tokens),
                web.post("/tokens", self.make_token),
                web.get("/events", self.events),
                web.get("/replies", self.replies),
                web.get("/script", self.rules),
                web.post("/script", self.add_rule),
                web.delete("/script", self.clear_rules),
                web.post("/release", self.release),
                web.post("/disconnect", self.disconnect),
                web.post("/reset", self.reset),
                web.get("/behaviour", self.behaviour),
                web.get("/config", self.configuration),
                web.put("/config", self.replace_configuration),
                web.patch("/settings", self.change_settings),
                web.patch("/tenants/{id}", self.change_tenant),
                web.patch("/applications/{client_id}", self.change_application),
                web.patch("/mailboxes/{address}", self.change_mailbox),
            ]
        )
        return app

    async def healthz(self, _request: web.Request) -> web.Response:
        """200 as soon as all three addresses listen."""
        return web.json_response({"status": "ok"})

    async def state(self, _request: web.Request) -> web.Response:
        """The document of the state file."""
        return web.json_response(self.addresses())

    async def ca_certificate(self, _request: web.Request) -> web.Response:
        """The certificate that clients of both TLS services have to trust."""
        return web.Response(body=self.ca, content_type="application/x-pem-file")

    async def messages(self, request: web.Request) -> web.Response:
        """The messages. ``atleast`` with ``wait`` waits, ``mailbox`` selects, ``content=0`` omits the contents."""
        mailbox = request.query.get("mailbox", "").lower()

        def arrived() -> list[Message]:
            return [message for message in ledger.messages if mailbox in {"", message.mailbox.lower()}]

        ledger = self.service.ledger
        least = int(_number(request, "atleast", 0))
        await ledger.until(lambda: len(arrived()) >= least, seconds=_wait(request))
        full = request.query.get("content", "1") != "0"
        return web.json_response({"messages": [_message_document(message, full=full) for message in arrived()]})

    async def counters(self, _request: web.Request) -> web.Response:
        """The counters since the last reset."""
        return web.json_response({_camel(name): value for name, value in vars(self.service.ledger.tally).items()})

    async def statistics(self, request: web.Request) -> web.Response:
        """The use of each mailbox's slots; with ``by``, a header's name, also delivery times by its value."""
        header = request.query.get("by", "")
        known = {box.address: self._statistics(box.address, header) for box in self.service.tenancy.mailboxes}
        return web.json_response({"mailboxes": known, "at": self.service.clock()})

    def _statistics(self, mailbox: str, header: str) -> dict[str, Any]:
        service = self.service
        lock = service.submission.lockouts.lock(mailbox)
        here = [message for message in service.ledger.messages if message.mailbox.lower() == mailbox.lower()]
        figures = {
            "slots": service.tenancy.settings.connections_per_mailbox,
            "locked": lock and dataclasses.asdict(lock),
            **service.submission.traffic.shown(mailbox),
            "delivered": len(here),
        }
        if header:
            clients: dict[str, list[float]] = {}
            for message in here:
                client = page.header_value(message.content, header)
                clients.setdefault(client, []).append(message.received)
            figures["clients"] = clients
        return figures

    async def tokens(self, _request: web.Request) -> web.Response:
        """The tokens issued, by identifier; never the tokens themselves."""
        listed = [dataclasses.asdict(token) for token in self.service.ledger.tokens]
        return web.json_response({"tokens": [{_camel(k): v for k, v in token.items()} for token in listed]})

    async def make_token(self, request: web.Request) -> web.Response:
        """Issues a token without a credential, for tests of a relay that has no controller."""
        order = decode(await request.read() or b"{}", TokenOrder, source="the request")
        tenancy = self.service.tenancy
        if not tenancy.applications:
            raise ConfigurationError("the request: there is no application to issue a token to; PUT /config adds one")
        client_id = order.client_id or tenancy.applications[0].client_id
        application = tenancy.application(client_id)
        tenant = tenancy.tenant(application.tenant) if application else None
        if application is None or tenant is None:
            raise ConfigurationError(f"clientId: there is no application {client_id!r}; GET /config lists them")
        wanted = TokenRequest(
            application=application,
            tenant=tenant,
            audience=order.audience or tenancy.settings.audiences[0],
            lifetime=order.lifetime,
            credential="control",
            started=order.started,
            foreign=order.foreign,
        )
        minted = self.service.mint.mint(wanted)
        self.service.ledger.issue(minted.record)
        body = {"accessToken": minted.access_token, "expires": minted.record.expires, "uti": minted.record.uti}
        return web.json_response(body)

    async def events(self, request: web.Request) -> web.Response:
        """Events with a number above ``after``, of ``kind`` if given; ``wait`` waits for ``atleast`` (1) of them."""
        after = int(_number(request, "after", 0))
        kind = request.query.get("kind")

        def wanted() -> list[dict[str, Any]]:
            return [event for event in ledger.events[after:] if kind in {None, event["kind"]}]

        ledger = self.service.ledger
        least = int(_number(request, "atleast", 1))
        await ledger.until(lambda: len(wanted()) >= least, seconds=_wait(request))
        return web.json_response({"events": wanted(), "last": len(ledger.events)})

    async def replies(self, _request: web.Request) -> web.Response:
        """The documented replies that a rule can name, and the AADSTS errors."""
        named = {name: dataclasses.asdict(known) for name, known in NAMED.items()}
        return web.json_response({"replies": named, "aadsts": [dataclasses.asdict(entry) for entry in ENTRIES]})

    async def rules(self, _request: web.Request) -> web.Response:
        """The rules in force."""
        return web.json_response({"rules": shown(self.service.script.rules)})

    async def add_rule(self, request: web.Request) -> web.Response:
        """Adds a rule to the script."""
        rule = decode(await request.read(), Rule, source="the request")
        number = self.service.script.add(rule)
        return web.json_response({"id": number}, status=201)

    async def clear_rules(self, _request: web.Request) -> web.Response:
        """Removes every rule and ends every stall."""
        self.service.script.clear()
        return web.json_response({})

    async def release(self, _request: web.Request) -> web.Response:
        """Ends every stall; the rules stay."""
        self.service.script.release()
        return web.json_response({})

    async def disconnect(self, _request: web.Request) -> web.Response:
        """Resets every open SMTP connection, as a restarted front end would."""
        await self.service.submission.drop()
        return web.json_response({})

    async def reset(self, _request: web.Request) -> web.Response:
        """Restores the state at the start."""
        await self.service.reset()
        return web.json_response({})

    async def behaviour(self, _request: web.Request) -> web.Response:
        """The axes of undocumented behaviour: the values in force, and the profiles."""
        in_force = msgspec.to_builtins(self.service.submission.behaviour)
        return web.json_response({"behaviour": in_force, "profiles": msgspec.to_builtins(PROFILES)})

    async def configuration(self, _request: web.Request) -> web.Response:
        """The configuration in force, with masked secrets."""
        document = msgspec.to_builtins(self.service.tenancy)
        for application in document["applications"]:
            for secret in application["secrets"]:
                secret["value"] = MASK
        return web.json_response(document)

    async def replace_configuration(self, request: web.Request) -> web.Response:
        """Replaces the configuration until the next reset."""
        self.service.replace_tenancy(read_tenancy(await request.read(), source="the request"))
        return await self.configuration(request)

    async def change_settings(self, request: web.Request) -> web.Response:
        """Changes the settings that the body names."""
        settings = patched(self.service.tenancy.settings, await request.read(), source="the request")
        check_settings(settings, source="the request")
        self.service.tenancy.settings = settings
        return await self.configuration(request)

    async def change_tenant(self, request: web.Request) -> web.Response:
        """Changes a tenant's domains or adds it."""
        return await self._change(request, "tenants", "id", request.match_info["id"])

    async def change_application(self, request: web.Request) -> web.Response:
        """Changes an application's members, its secrets for example, or adds it."""
        return await self._change(request, "applications", "client_id", request.match_info["client_id"])

    async def change_mailbox(self, request: web.Request) -> web.Response:
        """Changes a mailbox's members or adds it."""
        return await self._change(request, "mailboxes", "address", request.match_info["address"])

    async def _change(self, request: web.Request, kind: str, key: str, value: str) -> web.Response:
        document = msgspec.to_builtins(self.service.tenancy)
        changes = decode(await request.read(), dict[str, Any], source="the request")
        name = _camel(key)
        entry = next((entry for entry in document[kind] if entry[name].lower() == value.lower()), None)
        if entry is None:
            if kind != "tenants" and not document["tenants"]:
                raise ConfigurationError("the request: there is no tenant to add it to; PATCH /tenants/<id> adds one")
            entry = {name: value} if kind == "tenants" else {name: value, "tenant": document["tenants"][0]["id"]}
            document[kind].append(entry)
        entry.update(changes)
        self.service.replace_tenancy(read_tenancy(msgspec.json.encode(document), source="the request"))
        return await self.configuration(request)


@web.middleware
async def _explained(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answers a wrong request with 400 and the reason."""
    try:
        return await handler(request)
    except ConfigurationError as wrong:
        return web.json_response({"error": str(wrong)}, status=400)


def _message_document(message: Message, *, full: bool) -> dict[str, Any]:
    document = {_camel(name): value for name, value in dataclasses.asdict(message).items() if name != "content"}
    document["size"] = len(message.content)
    document["headers"] = page.header_fields(message.content)
    if full:
        document["content"] = base64.b64encode(message.content).decode()
    return document


def _number(request: web.Request, name: str, default: float) -> float:
    text = request.query.get(name)
    try:
        number = float(text) if text is not None else default
    except ValueError as wrong:
        raise ConfigurationError(f"the query's {name} is {text!r}, not a number") from wrong
    if not math.isfinite(number):
        raise ConfigurationError(f"the query's {name} is {text!r}, not a finite number")
    return number


def _wait(request: web.Request) -> float:
    return min(_number(request, "wait", 0.0), LONGEST_WAIT)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)
