"""The outermost layer of the app: who may be asked for (Host), whose pages may send something (Origin), the headers of
every answer, and the last resort for errors. Also decides which addresses `serve` may listen on."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from fastapi import Depends
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
    # Not "no-referrer", with which browsers say "Origin: null" of our own forms.
    "referrer-policy": "same-origin",
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


MAX_BODY: Final = 1 << 20
"""Bytes that a request may send."""

_SAFE: Final = frozenset({"GET", "HEAD"})
_OWN_PAGES: Final = frozenset({"same-origin", "none"})


def check_origin(headers: Headers) -> None:
    """Refuse a request that a page of another site makes in somebody's browser: ApiProblem cross-site.

    Every browser of today says where a page comes from (Sec-Fetch-Site) and sends Origin with each POST. Programs send
    neither, and are let through: nobody else's browser is behind them. Another port of this machine is another origin.
    """
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").strip().lower()
    if foreign or (site is not None and site.strip().lower() not in _OWN_PAGES):
        raise ApiProblem("cross-site", "This was sent by a page of another site; only our own pages may.")


def require_json(request: Request) -> None:
    """Refuse a body that does not call itself JSON: ApiProblem not-json. A form elsewhere cannot say so without asking
    us first (CORS), and we never answer that."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise ApiProblem("not-json", "Send the body as JSON, with Content-Type: application/json.")


JsonBody: Final = Depends(require_json)
"""For the `dependencies` of every route that takes a body."""


class Shield:
    """ASGI middleware: Host allow-list (a page elsewhere that rebinds its DNS name to 127.0.0.1 is refused), nothing
    sent by pages of other sites and no endless bodies, security headers, HEAD for every GET, a trace id, and a 500
    problem for what nobody caught."""

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
            if scope["method"] not in _SAFE:
                check_origin(Headers(scope=scope))
                receive = await _whole(receive)
            await self._app(inner, receive, dressed)
        except Exception as error:
            if started:  # too late for a problem: break the connection, so that nobody takes a part for the whole
                raise
            response = await self._on_error(request, error)
            await response(inner, receive, dressed)


async def _whole(receive: Receive) -> Receive:
    """The same request with its body read; ApiProblem body-too-large beyond MAX_BODY."""
    parts, more = [b""], True
    while more:
        message = await receive()
        if message["type"] != "http.request":  # whoever sent it has gone
            break
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
        if sum(map(len, parts)) > MAX_BODY:
            raise ApiProblem("body-too-large", f"A body may have at most {MAX_BODY:,} bytes.")
    whole: list[Message] = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]

    async def again() -> Message:
        return whole.pop() if whole else await receive()

    return again
