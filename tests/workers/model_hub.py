"""A stand-in for the hub's models on a loopback port: commits, sizes and hashes, byte ranges, redirects to a second
host, and transfers that go wrong as they are told to."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "org/model"


def sha(data: bytes) -> str:
    """The SHA-256 of data."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class ModelHub:
    """`files` are those of the model org/model at every commit; `main` is the commit of its branch. What ends in .json
    or .txt lies in git, the rest in LFS. `sends` replaces the bytes of a file on the wire, `breaks` maps a path to
    byte counts after which successive transfers break off, `wrong` a part of a request's path to a (status, headers,
    body) that is answered instead, `asked` has (path, range, token) of each request."""

    url: str = ""
    main: str = COMMIT
    files: dict[str, bytes] = field(default_factory=dict)
    sends: dict[str, bytes] = field(default_factory=dict)
    breaks: dict[str, list[int]] = field(default_factory=dict)
    wrong: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    elsewhere: str | None = None  # where resolve/ redirects to
    ranges: bool = True
    tagged: bool = True
    gate: threading.Event | None = None  # a transfer waits for it before its last byte

    def entry(self, path: str) -> dict[str, Any]:
        """A file as the hub lists it."""
        data = self.files[path]
        if path.endswith((".json", ".txt")):
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            return {"type": "file", "path": path, "size": len(data), "oid": blob}
        lfs = {"oid": sha(data), "size": len(data), "pointerSize": 130}
        return {"type": "file", "path": path, "size": len(data), "oid": "a" * 40, "lfs": lfs, "xetHash": "b" * 64}

    def transfers(self) -> list[str | None]:
        """The ranges of the requests for files' bytes."""
        return [wanted for path, wanted, _ in self.asked if "/resolve/" in path or "/bytes/" in path]


@contextmanager
def model_hub() -> Iterator[ModelHub]:
    """The hub, until the block ends."""
    hub = ModelHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self._odd():
                return
            path = unquote(urlsplit(self.path).path)
            if found := re.fullmatch(rf"/api/models/{REPO}/revision/(.+)", path):
                self._json({"id": REPO, "sha": hub.main}) if found[1] == "main" else self._missing("RevisionNotFound")
            elif found := re.fullmatch(rf"/{REPO}/resolve/[0-9a-f]{{40}}/(.+)", path):
                if hub.elsewhere:
                    self._answer(302, b"", {"Location": f"{hub.elsewhere}/bytes/{found[1]}"})
                else:
                    self._file(found[1])
            elif found := re.fullmatch(r"/bytes/(.+)", path):
                self._file(found[1])
            else:
                self._missing("RepoNotFound")

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if not self._odd():
                self._json([hub.entry(path) for path in form["paths"] if path in hub.files])

        def _odd(self) -> bool:
            hub.asked.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
            answer = next((answer for part, answer in hub.wrong.items() if part in self.path), None)
            if answer:
                self._answer(answer[0], answer[2], answer[1])
            return answer is not None

        def _file(self, path: str) -> None:
            if path not in hub.files:
                return self._missing("EntryNotFound")
            data, wanted = hub.sends.get(path, hub.files[path]), self.headers.get("Range")
            headers = {"ETag": f'"{sha(data)[:32]}"'} if hub.tagged else {}
            same = self.headers.get("If-Range") in (None, headers.get("ETag"))
            if not (wanted and hub.ranges and same):
                return self._send(path, 200, data, headers)
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            if first >= len(data):
                return self._answer(416, b"", {})
            whole = f"bytes {first}-{len(data) - 1}/{len(data)}"
            return self._send(path, 206, data[first:], {**headers, "Content-Range": whole})

        def _send(self, path: str, status: int, data: bytes, headers: dict[str, str]) -> None:
            cut = hub.breaks[path].pop(0) if hub.breaks.get(path) else None
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if hub.gate is not None:
                self.wfile.write(data[:-1])
                hub.gate.wait(20)
                self.wfile.write(data[-1:])
            else:
                self.wfile.write(data if cut is None else data[:cut])
            if cut is not None:
                self.close_connection = True

        def _missing(self, code: str) -> None:
            self._answer(404, b"{}", {"X-Error-Code": code})

        def _json(self, value: Any) -> None:
            self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is no error
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
