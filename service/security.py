"""The outermost layer of the app: who may be asked for (Host), the headers of every answer, and the last
resort for errors. Also decides which addresses `serve` may listen on."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ranking.errors import UsageError
from service.problems import ApiProblem

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})

HEADERS: Final[dict[str, str]] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""On every answer, whatever its status."""


def check_bind(host: str) -> None:
    """Refuse to listen where other machines can reach the API, which has no keys yet; UsageError in one
    line."""
    if not is_loopback(host):
        raise UsageError(
            f"listening on {host} would let other machines in, and the API has no keys yet",
            code="bind-refused",
            hint="use --host 127.0.0.1, and an SSH tunnel from elsewhere",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_name(header: str) -> str:
    """The name in a Host header without its port, in lower case."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


class Shield:
    """ASGI middleware: Host allow-list (a page elsewhere that rebinds its DNS name to 127.0.0.1 is refused),
    security headers, HEAD for every GET, a trace id, and a 500 problem for what nobody caught."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: frozenset[str],
        on_error: Callable[[Request, Exception], Awaitable[Response]],
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace = secrets.token_hex(8)
        head = scope["method"] == "HEAD"
        inner = {**scope, "pairsieve.trace_id": trace, "method": "GET" if head else scope["method"]}
        started = False

        async def dressed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "private, no-cache")
                headers["x-trace-id"] = trace
            elif head:
                message = {**message, "body": b""}
            await send(message)

        request = Request(inner, receive)
        try:
            if host_name(Headers(scope=scope).get("host", "")) not in self._hosts:
                detail = "This server answers only to localhost; check the address."
                raise ApiProblem("host-not-allowed", detail)
            await self._app(inner, receive, dressed)
        except Exception as error:
            if started:  # too late for a problem: break the connection, so that nobody takes a part for the whole
                raise
            response = await self._on_error(request, error)
            await response(inner, receive, dressed)
