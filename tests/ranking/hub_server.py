"""A stand-in for the hub on a loopback port: the requests that ingest makes of it, with byte ranges, pages, redirects
to a second server, and answers that go wrong as they are told to."""

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
REPO = "org/pairs"
_PAGE = 2


@dataclass
class Hub:
    """`files` are those of the dataset org/pairs at COMMIT, which "main" and "v1" name. `wrong` maps a part of a path
    to (status, headers, body) that is answered instead. `asked` has method, path and range of each request."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    wrong: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    sent: int = 0
    elsewhere: str | None = None  # where resolve/ redirects to
    ranges: bool = True

    def entry(self, path: str) -> dict[str, Any]:
        """A file as the hub lists it; what ends in .parquet is in LFS."""
        data = self.files[path]
        listed: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": "a" * 40}
        if path.endswith(".parquet"):
            listed["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return listed


@contextmanager
def hub_server() -> Iterator[Hub]:
    """The hub, until the block ends."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._note()
            for part, (status, headers, body) in hub.wrong.items():
                if part in self.path:
                    return self._answer(status, body, headers)
            path = unquote(urlsplit(self.path).path)
            if found := re.fullmatch(rf"/api/datasets/{REPO}/revision/(.+)", path):
                known = found[1] in ("main", "v1", COMMIT)
                return self._json({"id": REPO, "sha": COMMIT}) if known else self._missing("RevisionNotFound")
            if found := re.fullmatch(rf"/api/datasets/{REPO}/tree/{COMMIT}(?:/(.+))?", path):
                return self._tree(found[1] or "")
            if found := re.fullmatch(rf"/datasets/{REPO}/resolve/{COMMIT}/(.+)", path):
                if hub.elsewhere:
                    return self._answer(302, b"", {"Location": f"{hub.elsewhere}/bytes/{found[1]}"})
                return self._file(found[1])
            if found := re.fullmatch(r"/bytes/(.+)", path):
                return self._file(found[1])
            return self._missing("RepoNotFound")

        def do_POST(self) -> None:
            self._note()
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            found = [hub.entry(path) for path in form["paths"] if path in hub.files]
            folders = [path for path in form["paths"] if any(name.startswith(f"{path}/") for name in hub.files)]
            self._json([*found, *({"type": "directory", "path": path, "oid": "b" * 40} for path in folders)])

        def _tree(self, folder: str) -> None:
            names = sorted(name for name in hub.files if not folder or name.startswith(f"{folder}/"))
            first = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
            headers = {}
            if first + _PAGE < len(names):
                base = self.path.partition("?")[0]
                headers["Link"] = f'<{hub.url}{base}?recursive=true&cursor={first + _PAGE}>; rel="next"'
            self._json([hub.entry(name) for name in names[first : first + _PAGE]], headers)

        def _file(self, path: str) -> None:
            if path not in hub.files:
                return self._missing("EntryNotFound")
            data, wanted = hub.files[path], self.headers.get("Range")
            if not wanted or not hub.ranges:
                return self._answer(200, data)
            first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
            whole = f"bytes {first}-{last}/{len(data)}"
            return self._answer(206, data[first : last + 1], {"Content-Range": whole})

        def _missing(self, code: str) -> None:
            self._answer(404, b"{}", {"X-Error-Code": code})

        def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
            self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            hub.sent += len(body)

        def _note(self) -> None:
            hub.asked.append((self.command, self.path, self.headers.get("Range")))
            hub.tokens.append(self.headers.get("Authorization"))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
