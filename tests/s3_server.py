"""An S3 server for tests: moto's own, in its own process, and a proxy before it that breaks what it is told to break.

moto checks If-None-Match and then writes, in two steps; S3 does it in one. So its requests are taken one at a time."""

import http.client
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_SERVER = """
import logging, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app, one_at_a_time = DomainDispatcherApplication(create_backend_app), threading.Lock()

def answer(environ, start_response):
    with one_at_a_time:
        return [b"".join(app(environ, start_response))]

server = make_server("127.0.0.1", 0, answer, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""

Fault = str | int
"""What happens to one request: a number is answered in the server's place. "reset": the connection breaks before the
server sees anything; "drop": the server does it, the answer is lost; "late": the same, but the server does it a moment
later; "truncate": half of the body, then the connection breaks; "torn": half of the body, passed off as all of it;
"unconditional": If-None-Match is taken out; "forgetful": metadata is taken out."""


@contextmanager
def moto_server() -> Iterator[str]:
    """The URL of an S3 server on a free loopback port."""
    process = subprocess.Popen([sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def ask(method: str, url: str, data: bytes | None = None) -> dict[str, str]:
    """Do something to an object or a bucket, past the store; the answer's headers in lower case."""
    # moto wants to see a signature, and does not check it.
    signed = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    headers = {"Authorization": signed, "Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return {name.lower(): value for name, value in answer.headers.items()}


def make_bucket(url: str, name: str) -> None:
    """Create a bucket."""
    ask("PUT", f"{url}/{name}")


@dataclass
class Rule:
    """The faults that the next requests meet which `fits` says yes to, one each."""

    fits: Callable[["Request"], bool]
    faults: list[Fault]


@dataclass(frozen=True)
class Request:
    """What a rule sees: method, path without the bucket's host, query, and the headers in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]


@dataclass
class Proxy:
    """A server before the server. `url` is where it listens."""

    target: str
    page_size: int | None = None
    rules: list[Rule] = field(default_factory=list)
    seen: list[tuple[str, str, Fault | None]] = field(default_factory=list)
    luck: random.Random | None = None
    chance: float = 0.0
    kinds: tuple[Fault, ...] = ()
    lock: threading.Lock = field(default_factory=threading.Lock)
    later: list[threading.Thread] = field(default_factory=list)
    url: str = ""

    def fail(self, method: str, part: str, *faults: Fault) -> None:
        """The next requests of this method whose path contains `part` meet these faults, one each."""
        self.rules.append(Rule(lambda request: request.method == method and part in request.path, list(faults)))

    def always(self, method: str, part: str, fault: Fault) -> None:
        """Every request of this method whose path contains `part` meets this fault."""
        self.fail(method, part, *[fault] * 10_000)

    def gamble(self, seed: int, chance: float, *kinds: Fault) -> None:
        """Each request meets one of these faults with this chance."""
        self.luck, self.chance, self.kinds = random.Random(seed), chance, kinds

    def count(self, method: str, part: str) -> int:
        """How many such requests came."""
        return sum(1 for done, path, _ in self.seen if done == method and part in path)

    def choose(self, request: Request) -> Fault | None:
        """The fault for a request."""
        with self.lock:
            fault: Fault | None = None
            rule = next((rule for rule in self.rules if rule.faults and rule.fits(request)), None)
            if rule is not None:
                fault = rule.faults.pop(0)
            elif self.luck is not None and self.luck.random() < self.chance:
                fault = self.luck.choice(self.kinds)
            self.seen.append((request.method, request.path, fault))
            return fault


@contextmanager
def faulty_proxy(target: str) -> Iterator[Proxy]:
    """A proxy before the server at `target` that breaks nothing until it is told to."""
    proxy = Proxy(target)

    class Handler(_Handler):
        plan = proxy

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        for waiting in proxy.later:
            waiting.join()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet, or each answer waits 40 ms for an acknowledgement
    plan: Proxy

    def _handle(self) -> None:
        address = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        fault = self.plan.choose(Request(self.command, address.path, address.query, headers))
        query = address.query
        if self.plan.page_size and "list-type=2" in query:
            query += f"&max-keys={self.plan.page_size}"
        if fault == "unconditional":
            headers.pop("if-none-match", None)
        if fault == "forgetful":
            headers = {name: value for name, value in headers.items() if not name.startswith("x-amz-meta-")}
        path = f"{address.path}?{query}" if query else address.path
        if fault == "reset":
            self._hang_up()
        elif isinstance(fault, int):
            self._answer(fault, {}, f"<Error><Code>{_CODES[fault]}</Code><Message>no</Message></Error>".encode())
        elif fault == "late":
            self._hang_up()
            thread = threading.Thread(target=self._do_later, args=(path, body, headers))
            self.plan.later.append(thread)
            thread.start()
        else:
            status, received, content = self._forward(path, body, headers)
            if fault == "drop":
                self._hang_up()
            elif fault == "truncate":
                self._answer(status, received, content[: len(content) // 2], length=len(content))
                self._hang_up()
            elif fault == "torn":
                self._answer(status, received, content[: len(content) // 2])
            else:
                self._answer(status, received, content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _do_later(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        time.sleep(0.3)
        self._forward(path, body, headers)

    def _forward(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.plan.target.removeprefix("http://"), timeout=30)
        try:
            connection.request(self.command, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        size = headers.get("content-length", "0") if self.command == "HEAD" else str(length or len(body))
        self.send_header("content-length", size)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


_CODES = {
    307: "TemporaryRedirect",
    400: "InvalidRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    409: "ConditionalRequestConflict",
    412: "PreconditionFailed",
    500: "InternalError",
    503: "SlowDown",
}
