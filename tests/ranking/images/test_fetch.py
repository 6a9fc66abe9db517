"""Fetching an image reaches public machines of allowed hosts only, whatever addresses, resolvers, redirects and
servers do; and it ends, in time and in bytes."""

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pickapic_factory import jpeg

from ranking.errors import UsageError
from ranking.images import MAX_BYTES, ImageError
from ranking.images.fetch import Limits, UrlFetcher, is_public, url_fetcher
from ranking.settings import Settings, load_settings

PUBLIC = "93.184.216.34"
QUICK = Limits(connect=2, read=0.6, total=2)
Answer = Callable[[str, ssl.SSLSocket], None]


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address that any socket of this process is connected to."""
    seen: list[str] = []
    real = socket.socket.connect

    def spy(self: socket.socket, address: tuple[str, int]) -> None:
        seen.append(str(address[0]))
        if not ipaddress.ip_address(address[0]).is_loopback:
            raise OSError("the tests reach nobody")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", spy)
    return seen


EVIL = [
    "http://images.example.org/a.jpg",
    "ftp://images.example.org/a.jpg",
    "file:///etc/passwd",
    "https:images.example.org",
    "//images.example.org/a",
    "https://",
    "https:///a.jpg",
    "https://127.0.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://0/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[fd00::1]/",
    "https://[::1",
    "https://localhost/",
    "https://localhost./",
    "https://images.example.org./a.jpg",
    "https://images.example.org:80/a.jpg",
    "https://images.example.org:8443/a.jpg",
    "https://images.example.org:/a.jpg",
    "https://images.example.org:443:80/a.jpg",
    "https://images.example.org:-1/a.jpg",
    "https://me@images.example.org/a.jpg",
    "https://images.example.org@127.0.0.1/a.jpg",
    "https://images.example.org:pw@evil.example/a.jpg",
    "https://images.example.org\\@evil.example/",
    "https://images.example.org\\.evil.example/",
    "https://evil.example/images.example.org",
    "https://images.example.org.evil.example/",
    "https://notimages.example.org/",
    "https://example.net/",
    "https://evilexample.net/",
    "https://images。example。org/",
    "https://imag%65s.example.org/",
    "https://ⓘmages.example.org/",
    "https://images.example.org/a b",
    "https://images.example.org/\r\nHost: evil",
    "https://images.exam\tple.org/a",
    " https://images.example.org/a",
    "https://images.example.org/" + "a" * 5000,
    "https://" + "a" * 70 + ".example.net/",
    "https://-.example.net/",
    "https://..example.net/",
]


@pytest.mark.parametrize("url", EVIL)
def test_an_address_that_is_not_allowed_is_not_even_looked_up(connections: list[str], url: str) -> None:
    asked: list[str] = []
    fetch = UrlFetcher(["images.example.org", "*.example.net"], resolve=lambda host: asked.append(host) or [PUBLIC])
    with pytest.raises(ImageError) as caught:
        fetch(url)
    assert (caught.value.status, asked, connections) == ("missing", [], [])


PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::93.184.216.34",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:100.64.0.1",
    "fd00::1",
    "fe80::1",
    "fe80::1%eth0",
    "2606:2800:220:1::1%eth0",
    "ff02::1",
    "fec0::1",
    "100::1",
    "2001:db8::1",
    "2001:0:7f00:1::1",
    "2001::5efe:7f00:1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::5db8:d822",
    "4000::1",
    "no address",
    "",
    "0x7f.1",
]


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("beside", [[], [PUBLIC]], ids=["alone", "after a public one"])
def test_no_connection_is_made_to_an_address_that_is_not_public(
    connections: list[str], address: str, beside: list[str]
) -> None:
    fetch = UrlFetcher(["images.example.org"], resolve=lambda _: [*beside, address])
    with pytest.raises(ImageError, match="not public") as caught:
        fetch("https://images.example.org/a.jpg")
    assert (caught.value.status, connections) == ("missing", [])


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "1.1.1.1", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822", "2002:5db8:d822::1"],
)
def test_public_addresses_are_known(address: str) -> None:
    assert is_public(address)


# From here on a real TLS server answers: the fetcher's connector takes a checked public address to it.


class Authority:
    """A certificate authority of the test's own, and what it signs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority of a test")])
        self._certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0), [])

    def trusting(self) -> ssl.SSLContext:
        """What a client that trusts this authority uses."""
        pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)

    def server(self, *hosts: str) -> ssl.SSLContext:
        """What a server with a certificate for these hosts uses."""
        key = ec.generate_private_key(ec.SECP256R1())
        none = x509.BasicConstraints(ca=False, path_length=None)
        certificate = self._sign(x509.Name([]), key, none, [x509.DNSName(host) for host in hosts])
        path = self._folder / f"{hosts[0]}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, kind: x509.BasicConstraints, hosts: list[x509.DNSName]
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        usage = x509.KeyUsage(True, False, False, False, False, kind.ca, kind.ca, False, False)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(kind, critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=not name.rdns)
        return builder.sign(self._key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@contextmanager
def serving(context: ssl.SSLContext, answer: Answer) -> Iterator[int]:
    """A TLS server on a loopback port; `answer` gets each request's head and the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def talk(plain: socket.socket) -> None:
            try:
                with plain, context.wrap_socket(plain, server_side=True) as secure:
                    head = b""
                    while b"\r\n\r\n" not in head and (piece := secure.recv(4096)):
                        head += piece
                    answer(head.decode("latin-1"), secure)
            except OSError:
                pass  # the client went away, as it should

        def accept() -> None:
            while not ended.is_set():
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(plain,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)


def reply(body: bytes, *, status: str = "200 OK", kind: str = "image/jpeg", more: str = "") -> Answer:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return lambda _, secure: secure.sendall(head.encode("latin-1") + body)


def sending(head: str, *pieces: bytes, pause: float = 0) -> Answer:
    def answer(_: str, secure: ssl.SSLSocket) -> None:
        for piece in (head.encode("latin-1"), *pieces):
            secure.sendall(piece)
            time.sleep(pause)

    return answer


Hosts = dict[str, list[str]]


def fetcher(authority: Authority, port: int, *, hosts: Hosts | None = None, limits: Limits = QUICK) -> UrlFetcher:
    """A fetcher for whom every public address leads to the loopback port, and every other where it leads."""
    known = hosts or {"images.example.org": [PUBLIC]}

    def connect(address: str, seconds: float) -> socket.socket:
        to = ("127.0.0.1", port) if address == PUBLIC else (address, 443)
        return socket.create_connection(to, timeout=seconds)

    return UrlFetcher(
        known, resolve=lambda host: known[host], connect=connect, context=authority.trusting(), limits=limits
    )


URL = "https://images.example.org/a.jpg"


def test_an_image_is_fetched_with_its_hosts_name_and_nothing_of_ours(
    authority: Authority, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    heads: list[str] = []

    def answer(head: str, secure: ssl.SSLSocket) -> None:
        heads.append(head)
        reply(jpeg("it"), kind="image/jpeg; charset=x", more="Set-Cookie: a=b\r\n")(head, secure)

    with serving(authority.server("images.example.org"), answer) as port:
        fetch = fetcher(authority, port)
        assert fetch("https://IMAGES.example.org:443/some/ä.jpg?size=9&x=%20#top") == jpeg("it")
        assert fetch(URL) == jpeg("it")
    lines = heads[0].split("\r\n")
    assert lines[0] == "GET /some/%C3%A4.jpg?size=9&x=%20 HTTP/1.1"
    assert "Host: images.example.org" in lines
    assert not [line for line in heads[1].split("\r\n") if line.lower().startswith(("cookie", "authorization"))]
    assert connections == ["127.0.0.1"] * 2


def test_a_chunked_body_is_put_together(authority: Authority) -> None:
    data = jpeg("chunked")
    pieces = [f"{len(data[i : i + 50]):x}\r\n".encode() + data[i : i + 50] + b"\r\n" for i in range(0, len(data), 50)]
    head = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(authority.server("images.example.org"), sending(head, *pieces, b"0\r\n\r\n")) as port:
        assert fetcher(authority, port)(URL) == data


def test_a_redirect_is_followed_to_an_allowed_host(authority: Authority) -> None:
    def answer(head: str, secure: ssl.SSLSocket) -> None:
        if head.startswith("GET /a.jpg"):
            reply(b"", status="302 Found", more="Location: //cdn.example.org/b?c=d\r\n")(head, secure)
        else:
            assert head.startswith("GET /b?c=d ") and "Host: cdn.example.org\r\n" in head
            reply(jpeg("there"))(head, secure)

    hosts = {"images.example.org": [PUBLIC], "cdn.example.org": [PUBLIC]}
    with serving(authority.server(*hosts), answer) as port:
        assert fetcher(authority, port, hosts=hosts)(URL) == jpeg("there")


@pytest.mark.parametrize(
    "location",
    [
        "https://169.254.169.254/latest/meta-data/iam",
        "http://169.254.169.254/latest/meta-data/iam",
        "https://inside.example.org/admin",
        "https://evil.example/",
        "http://images.example.org/a.jpg",
        "file:///etc/passwd",
        "https://me:pw@images.example.org/",
        "https://images.example.org:8443/",
        "https://[::1]/",
        "",
    ],
)
def test_a_redirect_elsewhere_is_not_followed(authority: Authority, connections: list[str], location: str) -> None:
    hosts = {"images.example.org": [PUBLIC], "inside.example.org": ["10.0.0.1"]}
    answer = reply(b"", status="302 Found", more=f"Location: {location}\r\n")
    with serving(authority.server("images.example.org"), answer) as port, pytest.raises(ImageError) as caught:
        fetcher(authority, port, hosts=hosts)(URL)
    assert (caught.value.status, connections) == ("missing", ["127.0.0.1"])


def test_a_circle_of_redirects_ends(authority: Authority, connections: list[str]) -> None:
    answer = reply(b"", status="301 Moved", more="Location: /a.jpg\r\n")
    with (
        serving(authority.server("images.example.org"), answer) as port,
        pytest.raises(ImageError, match="more than 3 redirects"),
    ):
        fetcher(authority, port)(URL)
    assert len(connections) == 4


def test_a_resolver_that_changes_its_mind_reaches_nothing_inside(authority: Authority, connections: list[str]) -> None:
    """DNS rebinding: the address that was checked is the one that is used, and each hop is checked anew."""
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    asked: list[str] = []
    with serving(authority.server("images.example.org"), reply(jpeg("once"))) as port:
        fetch = UrlFetcher(
            ["images.example.org"],
            resolve=lambda host: asked.append(host) or next(answers),
            connect=lambda address, seconds: socket.create_connection(
                ("127.0.0.1", port) if address == PUBLIC else (address, 443), timeout=seconds
            ),
            context=authority.trusting(),
            limits=QUICK,
        )
        assert fetch(URL) == jpeg("once")
        assert (asked, len(connections)) == (["images.example.org"], 1)
        with pytest.raises(ImageError, match="not public"):
            fetch(URL)
    assert len(connections) == 1


def test_a_server_with_the_certificate_of_another_host_is_not_trusted(authority: Authority) -> None:
    with (
        serving(authority.server("other.example.org"), reply(jpeg("x"))) as port,
        pytest.raises(ImageError, match="is not valid") as caught,
    ):
        fetcher(authority, port)(URL)
    assert caught.value.status == "missing"


def test_a_server_whose_authority_nobody_knows_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    with (
        serving(Authority(tmp_path).server("images.example.org"), reply(jpeg("x"))) as port,
        pytest.raises(ImageError, match="certificate"),
    ):
        fetcher(authority, port)(URL)


LONG = b"\xff\xd8\xff" + bytes(1 << 20)
OPEN = "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (reply(b"", status="404 Not Found"), "missing", "says 404"),
        (reply(b"", status="401 Unauthorized"), "missing", "says 401"),
        (reply(jpeg("a"), status="206 Partial Content"), "missing", "says 206"),
        (reply(b"busy", status="503 Busy"), "missing", "says 503"),
        (reply(b"<html>", kind="text/html"), "unsupported", "sends 'text/html'"),
        (reply(b"<svg>", kind="image/svg+xml"), "unsupported", "svg"),
        (reply(b"GIF89a", kind="image/gif"), "unsupported", "gif"),
        (reply(jpeg("a"), more="Content-Encoding: gzip\r\n"), "unsupported", "encoding"),
        (reply(b"<!DOCTYPE html><html></html>"), "corrupt", "does not begin like an image"),
        (reply(b"GIF89a" * 10), "corrupt", "does not begin like an image"),
        (reply(b"x"), "corrupt", "does not begin like an image"),
        (
            sending(f"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {10**12}\r\n\r\n"),
            "too_large",
            "10000",
        ),
        (sending(OPEN, *[LONG] * 25), "too_large", "more than"),
        (sending("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", jpeg("a")), "missing", "ended early"),
        (sending("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"ffffffff\r\n", b"xx"), "missing", "answer"),
        (sending("SSH-2.0-OpenSSH\r\n"), "missing", "answer"),
        (sending("HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 1000), "missing", "answer"),
        (sending("HTTP/1.1 200 OK\r\nX: " + "y" * 100_000), "missing", "answer"),
        (sending(""), "missing", "answer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_image_has_a_status_and_a_reason(
    authority: Authority, answer: Answer, status: str, reason: str
) -> None:
    with (
        serving(authority.server("images.example.org"), answer) as port,
        pytest.raises(ImageError, match=reason) as caught,
    ):
        fetcher(authority, port)(URL)
    assert caught.value.status == status


def test_an_empty_body_is_no_image_but_no_failure_either(authority: Authority) -> None:
    with serving(authority.server("images.example.org"), reply(b"")) as port:
        assert fetcher(authority, port)(URL) == b""


def test_no_more_is_read_than_an_image_may_have(authority: Authority) -> None:
    sent = 0

    def endless(_: str, secure: ssl.SSLSocket) -> None:
        nonlocal sent
        secure.sendall(OPEN.encode())
        while True:
            secure.sendall(LONG)
            sent += len(LONG)

    with serving(authority.server("images.example.org"), endless) as port, pytest.raises(ImageError, match="more than"):
        fetcher(authority, port, limits=Limits(read=5, total=30))(URL)
    assert sent < MAX_BYTES + 20_000_000  # what lies in the buffers of two sockets


@pytest.mark.parametrize(
    "answer",
    [
        sending(OPEN + "", *[b"\xff\xd8\xff"] * 1000, pause=0.1),
        sending("HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 1000, pause=0.1),
        sending("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", pause=60),
        lambda head, secure: time.sleep(60),
    ],
    ids=["a drop of body at a time", "a header at a time", "body never comes", "no answer"],
)
def test_a_server_that_takes_its_time_is_left(authority: Authority, answer: Answer) -> None:
    with serving(authority.server("images.example.org"), answer) as port:
        begin = time.monotonic()
        with pytest.raises(ImageError, match="took too long") as caught:
            fetcher(authority, port)(URL)
        assert time.monotonic() - begin < QUICK.total + 3
    assert caught.value.status == "missing"


def test_a_handshake_and_a_resolver_that_never_end_are_left(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        with pytest.raises(ImageError, match="took too long"):
            fetcher(authority, silent.getsockname()[1])(URL)
        assert time.monotonic() - begin < QUICK.total + 3
    ended = threading.Event()
    fetch = UrlFetcher(["images.example.org"], resolve=lambda _: ended.wait(60) and [], limits=QUICK)
    begin = time.monotonic()
    with pytest.raises(ImageError, match="took too long"):
        fetch(URL)
    assert time.monotonic() - begin < QUICK.total + 3
    ended.set()


def test_a_server_that_is_busy_is_asked_once_more(authority: Authority) -> None:
    answers = iter([reply(b"", status="503 Busy"), reply(jpeg("then"))])
    with serving(authority.server("images.example.org"), lambda head, secure: next(answers)(head, secure)) as port:
        assert fetcher(authority, port)(URL) == jpeg("then")


def test_another_address_is_tried_where_one_does_not_answer(authority: Authority, connections: list[str]) -> None:
    hosts = {"images.example.org": ["1.1.1.1", PUBLIC]}
    with serving(authority.server("images.example.org"), reply(jpeg("there"))) as port:
        assert fetcher(authority, port, hosts=hosts)(URL) == jpeg("there")
    assert connections == ["1.1.1.1", "127.0.0.1"]


def test_a_star_stands_for_what_is_below_and_not_for_itself(connections: list[str]) -> None:
    asked: list[str] = []
    fetch = UrlFetcher(["*.example.net"], resolve=lambda host: asked.append(host) or ["10.0.0.1"])
    for host in ("a.example.net", "a.b.example.net", "example.net", "xexample.net"):
        with pytest.raises(ImageError):
            fetch(f"https://{host}/")
    assert (asked, connections) == (["a.example.net", "a.b.example.net"], [])


@pytest.mark.parametrize("pattern", ["*", "*.org", "https://a.org", "a.org/", "127.0.0.1", "a.*.org", "", "localhost"])
def test_hosts_that_would_allow_too_much_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="no host"):
        UrlFetcher([pattern])


def test_nothing_is_fetched_unless_the_settings_say_from_where(monkeypatch: pytest.MonkeyPatch) -> None:
    assert url_fetcher(Settings()) is None
    assert url_fetcher(Settings(image_hosts="a.example.org")) is None
    assert url_fetcher(Settings(image_urls=True, image_hosts="a.example.org, *.example.net")) is not None
    monkeypatch.setenv("PAIRSIEVE_IMAGE_URLS", "true")
    with pytest.raises(UsageError, match="PAIRSIEVE_IMAGE_HOSTS allows no host"):
        load_settings()
