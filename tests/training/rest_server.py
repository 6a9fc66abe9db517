"""A real server over a store, on a loopback port, that can be told to fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from ranking.settings import Settings
from ranking.store.blobs import Store
from service.app import create_app

Fault = Callable[[str], "tuple[int, bytes] | None"]
"""fault(path) gives status and body to answer instead, or None; status 0 breaks the connection off."""


@dataclass
class Told:
    """What came in, and what is to go wrong."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    most: int = 0
    fault: Fault = lambda path: None
    headers: dict[str, str] = field(default_factory=dict)
    _now: int = 0

    def images(self) -> list[str]:
        return [path for path in self.paths if path.startswith("/v1/images/")]


@contextmanager
def served(store: Store) -> Iterator[Told]:
    """The API over a store, until the block ends."""
    told, app = Told(), create_app(Settings(store=store.uri))

    async def shown(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        told.paths.append(scope["path"])
        told.tokens |= {value.decode() for name, value in scope["headers"] if name == b"authorization"}
        told._now += 1
        told.most = max(told.most, told._now)
        try:
            fault = told.fault(scope["path"])
            if fault is None:
                await app(scope, receive, send)
                return
            status, body = fault
            headers = [(name.encode(), value.encode()) for name, value in told.headers.items()]
            length = len(body) if status else len(body) + 1
            headers.append((b"content-length", str(length).encode()))
            await send({"type": "http.response.start", "status": status or 200, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": not status})
            if not status:
                raise ConnectionError("broken off as told")
        finally:
            told._now -= 1

    listening = socket.create_server(("127.0.0.1", 0))
    told.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(shown, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
