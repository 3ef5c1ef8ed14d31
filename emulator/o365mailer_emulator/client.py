"""A client of the control API, for your tests: standard library only. docs/emulator.md describes the API."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ControlRefused(RuntimeError):
    """The control API answered with a 4xx or 5xx; the text is its reason."""


class Control:
    """The control API of one emulator. `url` is its `controlUrl`, with http:// and without a slash at its end."""

    def __init__(self, url: str) -> None:
        self.control_url = url

    def control(self, method: str, path: str, document: Any = None, *, timeout: float = 60) -> Any:
        """Make one request and decode the answer. `timeout` is in seconds. Raises ControlRefused, or URLError."""
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self.control_url + path, data=body, method=method)  # noqa: S310 - you chose it
        try:
            with _OPENER.open(request, timeout=timeout) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refused:
            with refused:
                raise ControlRefused(refused.read().decode(errors="replace")) from None

    def script(self, step: str, **members: Any) -> int:
        """Add a rule, ``script("rcpt", match="x@example.com", reply="550 5.1.10 no")``, and return its number."""
        return int(self.control("POST", "/script", {"step": step, **members})["id"])

    def release(self) -> None:
        """Let what stalls go on."""
        self.control("POST", "/release")

    def disconnect(self) -> None:
        """Reset every open SMTP connection."""
        self.control("POST", "/disconnect")

    def messages(
        self, mailbox: str = "", *, atleast: int = 0, wait: float = 10, content: bool = True
    ) -> list[dict[str, Any]]:
        """What arrived, in one mailbox or in all. Waits up to ``wait`` seconds for ``atleast`` messages."""
        query = {"atleast": atleast, "wait": wait, "content": int(content)} | ({"mailbox": mailbox} if mailbox else {})
        return list(self._waiting("/messages", query, wait)["messages"])

    def events(self, kind: str, *, atleast: int = 1, wait: float = 10, after: int = 0) -> list[dict[str, Any]]:
        """Events of one kind. Waits up to ``wait`` seconds for ``atleast`` of them."""
        query = {"kind": kind, "atleast": atleast, "wait": wait, "after": after}
        return list(self._waiting("/events", query, wait)["events"])

    def _waiting(self, path: str, query: dict[str, Any], wait: float) -> Any:
        return self.control("GET", f"{path}?{urllib.parse.urlencode(query)}", timeout=wait + 60)

    def counters(self) -> dict[str, Any]:
        """The counters since the last reset."""
        return dict(self.control("GET", "/counters"))

    def statistics(self, *, by: str = "") -> dict[str, Any]:
        """Each mailbox's busy slots, refusals and, with ``by``, a header, each client's times of delivery."""
        return dict(self.control("GET", f"/statistics?{urllib.parse.urlencode({'by': by})}")["mailboxes"])

    def tokens(self) -> list[dict[str, Any]]:
        """The tokens issued, by identifier."""
        return list(self.control("GET", "/tokens")["tokens"])

    def issue_token(self, *, lifetime: float = 3600, **members: Any) -> str:
        """Return an access token for the first application, made without a credential. ``lifetime`` is in seconds."""
        return str(self.control("POST", "/tokens", {"lifetime": lifetime, **members})["accessToken"])

    def settings(self, **members: Any) -> None:
        """Change settings: ``settings(tokenLifetime=5)``."""
        self.control("PATCH", "/settings", members)

    def reset(self) -> None:
        """Set everything back to the start. Open SMTP connections are reset."""
        self.control("POST", "/reset")
