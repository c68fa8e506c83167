"""Who may talk to the app: pages of its own origin, under its own name, and nobody else.

A server on this computer can be reached by every web page that its user opens. Such a page may send
requests here (another `Origin`), or have its own name resolved to 127.0.0.1 (another `Host`).
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Iterable
from typing import Any

LOOPBACK = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
CLOSED_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
"""Content security policy of everything but the page itself: nothing in it may run."""


def allowed_names(host: str, others: str) -> frozenset[str]:
    """Names in `Host` headers that are ours.

    Args:
        host: that the server listens on.
        others: of the user, separated by commas.

    Returns:
        The names in lower case; addresses are judged by `Guard`.
    """
    names = {*LOOPBACK, *filter(None, (name.strip().lower() for name in others.split(",")))}
    if not is_loopback(host):
        names |= {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset(names)


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches an address."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(name: str) -> bool:
    """Whether a name is an IP address, which no foreign page can have resolved to another."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Wraps an ASGI app: refuses foreign requests, and adds security headers to every answer."""

    def __init__(self, app: Any, names: Iterable[str], *, any_address: bool, policy: str) -> None:
        """Say what is let in.

        Args:
            app: to protect.
            names: of this server in `Host`, lower case.
            any_address: let in any IP address as a name, for a server that others reach.
            policy: content security policy of the page at `/`.
        """
        self._app, self._names, self._any_address = app, frozenset(names), any_address
        self._policy = policy

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        policy = self._policy if scope["path"] == "/" else CLOSED_POLICY
        extra = HEADERS | {"content-security-policy": policy}
        added = [(name.encode(), value.encode()) for name, value in extra.items()]

        async def guarded(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        refusal = self.refusal(scope)
        if refusal is None:
            await self._app(scope, receive, guarded)
            return
        status, text = refusal
        body = json.dumps({"error": text}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await guarded({"type": "http.response.start", "status": status, "headers": headers})
        await guarded({"type": "http.response.body", "body": body})

    def refusal(self, scope: dict[str, Any]) -> tuple[int, str] | None:
        """Status and reason for a request that is not let in."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts = headers.get("host", [])
        if len(hosts) != 1:
            return 400, "one Host header is needed"
        host = hosts[0].lower()
        name = _without_port(host)
        if name not in self._names and not (self._any_address and is_address(name)):
            return 421, (
                "this server does not go by that name; open it by its address, or start it with "
                "--other_names"
            )
        changes = scope["method"] not in ("GET", "HEAD")
        origins = headers.get("origin", [])
        own = {f"http://{host}", f"https://{host}"}
        if changes and any(origin.lower() not in own for origin in origins):
            return 403, "requests of other pages are refused"
        site = headers.get("sec-fetch-site", ["none"])[0]
        if site not in ("none", "same-origin") and (changes or scope["path"] != "/"):
            return 403, "requests of other pages are refused"
        return None


def _without_port(host: str) -> str:
    """`[::1]:80` -> `::1`, `localhost:80` -> `localhost`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
