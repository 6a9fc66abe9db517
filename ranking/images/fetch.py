"""Gets images behind addresses, as a visitor who trusts neither the address nor the server: allowed hosts only, public
machines only, bounded in time and bytes. Off unless the settings say otherwise; decodes nothing."""

import http.client
import io
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, NoReturn
from urllib.parse import quote, urljoin, urlsplit

from ranking import schema
from ranking.errors import UsageError
from ranking.images.decode import MAX_BYTES, ImageError, too_large
from ranking.settings import Settings

Resolve = Callable[[str], Iterable[str]]
"""resolve(host) gives all its addresses as text; OSError where it has none."""
Connect = Callable[[str, float], socket.socket]
"""connect(address, seconds) gives a connection to port 443 of an address; OSError where it cannot."""

_LABEL = r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?"
# The last label begins with a letter, so that no spelling of a number (decimal, octal, hex, short) passes for a name.
_HOST = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?")
_REDIRECTS = (301, 302, 303, 307, 308)
_PORT = 443
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST = ipaddress.IPv6Network("2000::/3")
_SPECIAL = tuple(map(ipaddress.IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15")))
_TYPES = ("image/jpeg", "image/jpg", "image/png", "image/webp", "application/octet-stream", "binary/octet-stream")
_PIECE = 1 << 16
_ADDRESSES = 3


@dataclass(frozen=True)
class Limits:
    """Seconds to connect, seconds between two packets, seconds for all of it with redirects and a second try, and
    redirects to follow."""

    connect: float = 5.0
    read: float = 10.0
    total: float = 30.0
    hops: int = 3


class _Refused(Exception):
    """Something that a second try may mend."""


def url_fetcher(settings: Settings) -> "UrlFetcher | None":
    """What fetches images as the settings allow; None where they do not. UsageError for hosts that are none."""
    if not settings.image_urls:
        return None
    return UrlFetcher([host for host in re.split(r"[,\s]+", settings.image_hosts) if host])


class UrlFetcher:
    """Fetches images from the named hosts; `*.example.org` stands for every host below example.org.

    Calling it gives the bytes of an https address. Every hop's host is resolved once, all its addresses must be
    public, and the connection goes to the address that was checked, with the host's certificate. Raises ImageError:
    missing (not allowed, not there, not in time), too_large, unsupported (other types) or corrupt (what says it is an
    image and does not begin like one). No cookies, keys or proxies. May be used by several threads at once.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        *,
        resolve: Resolve | None = None,
        connect: Connect | None = None,
        context: ssl.SSLContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._hosts = tuple(_checked_pattern(host) for host in hosts)
        if not self._hosts:
            raise UsageError(
                "images behind addresses are allowed from no host",
                code="bad-setting",
                hint="name some in PAIRSIEVE_IMAGE_HOSTS",
            )
        self._resolve = resolve or _resolve
        self._connect = connect or _connect
        self._context = context or ssl.create_default_context()
        self._limits = limits or Limits()

    def __call__(self, url: str) -> bytes:
        """The bytes of an image; ImageError where it cannot be had."""
        deadline = time.monotonic() + self._limits.total
        try:
            return self._follow(url, deadline)
        except _Refused:
            pass  # a server that is busy or a connection that breaks gets one more chance
        try:
            return self._follow(url, deadline)
        except _Refused as error:
            raise ImageError(f"image not fetched: {error}", status=schema.MISSING) from error

    def _follow(self, url: str, deadline: float) -> bytes:
        for _ in range(self._limits.hops + 1):
            found = self._get(url, deadline)
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        _refuse(f"more than {self._limits.hops} redirects")

    def _get(self, url: str, deadline: float) -> bytes | str:
        """One hop: the image's bytes, or where the server sends us."""
        host, target = self._checked(url)
        try:
            with self._connection(host, deadline) as plain:
                plain.settimeout(_left(deadline, self._limits.connect))
                with self._context.wrap_socket(plain, server_hostname=host) as secure:
                    connection = http.client.HTTPSConnection(host, _PORT, context=self._context)
                    connection.auto_open = 0
                    connection.sock = _Timed(secure, deadline, self._limits.read)
                    headers = {"Accept": ", ".join(_TYPES[:1] + _TYPES[2:4]), "Accept-Encoding": "identity"}
                    connection.request("GET", target, headers=headers | {"User-Agent": "pairsieve"})
                    return _body(connection.getresponse())
        except ssl.SSLCertVerificationError as error:
            _refuse(f"the certificate of {host} is not valid ({error.verify_message})")
        except TimeoutError as error:
            raise _Refused(f"{host} took too long") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _Refused(f"{host} does not answer as it should ({type(error).__name__})") from error

    def _checked(self, url: str) -> tuple[str, str]:
        """The host and the path of an address, if it is one that may be asked."""
        if len(url) > 4096 or any(char <= " " or char in "\x7f\\" for char in url):
            _refuse("the address has characters that none may have")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            _refuse("the address is none")
        host = parts.hostname or ""
        if parts.scheme != "https":
            _refuse("the address does not begin with https")
        if "@" in parts.netloc:
            _refuse("the address names a user")
        if port not in (None, _PORT) or parts.netloc.endswith(":"):
            _refuse(f"the address names a port other than {_PORT}")
        if not _HOST.fullmatch(host):
            _refuse("the address does not name a host")
        if not any(_matches(host, pattern) for pattern in self._hosts):
            _refuse(f"host {host} is not allowed", hint="add it to PAIRSIEVE_IMAGE_HOSTS")
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        return host, f"{path}?{quote(parts.query, safe=_QUERY)}" if parts.query else path

    def _connection(self, host: str, deadline: float) -> socket.socket:
        """A connection to one of the addresses that the host has now: what is checked is what is used."""
        found = list(dict.fromkeys(_within(_left(deadline, self._limits.connect), lambda: list(self._resolve(host)))))
        if not all(is_public(address) for address in found):
            _refuse(f"{host} has an address that is not public")
        last: OSError | None = None
        for address in found[:_ADDRESSES]:
            try:
                return self._connect(address, _left(deadline, self._limits.connect))
            except OSError as error:
                last = error
        raise _Refused(f"{host} cannot be reached") from last


_QUERY = "/%:@!$&'()*+,;=~-._?[]"


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, seen through the forms that carry an IPv4 address in an
    IPv6 one (mapped, NAT64, 6to4)."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            return False
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.sixtofour is not None:
            return is_public(str(ip.sixtofour))
        return ip in _UNICAST and ip.is_global and ip.teredo is None
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _SPECIAL)


def _body(response: http.client.HTTPResponse) -> bytes | str:
    if response.status in _REDIRECTS:
        return response.getheader("Location") or _refuse("a redirect leads nowhere")
    if response.status == 429 or response.status >= 500:
        raise _Refused(f"the server says {response.status}")
    if response.status != 200:
        _refuse(f"the server says {response.status}")
    kind = (response.getheader("Content-Type") or _TYPES[-1]).partition(";")[0].strip().lower()
    if kind not in _TYPES:
        _refuse(f"the server sends {kind[:60]!r}", status=schema.UNSUPPORTED)
    if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
        _refuse("the server sends an encoding that was not asked for", status=schema.UNSUPPORTED)
    named = response.length
    if named is not None and named > MAX_BYTES:
        raise too_large(named)
    data = bytearray()
    while piece := response.read(min(_PIECE, MAX_BYTES + 1 - len(data))):
        data += piece
        if len(data) > MAX_BYTES:
            raise too_large(len(data))
        if len(data) >= 12 and not _begins_like_an_image(data):
            break
    else:
        if named is not None and len(data) < named:
            raise _Refused("the connection ended early")
    if data and not _begins_like_an_image(data):
        _refuse("what the server sends does not begin like an image", status=schema.CORRUPT)
    return bytes(data)


def _begins_like_an_image(data: bytearray) -> bool:
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (
        data.startswith(b"RIFF") and data[8:12] == b"WEBP"
    )


def _refuse(reason: str, *, status: str = schema.MISSING, hint: str = "") -> NoReturn:
    raise ImageError(f"image not fetched: {reason}", status=status, hint=hint)


def _matches(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _checked_pattern(pattern: str) -> str:
    name = pattern.lower().removeprefix("*.")
    if not _HOST.fullmatch(name):
        raise UsageError(
            f"{pattern!r} is no host that images may come from",
            code="bad-setting",
            hint="write PAIRSIEVE_IMAGE_HOSTS=images.example.org,*.example.net",
        )
    return pattern.lower()


def _left(deadline: float, most: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return min(left, most)


def _within(seconds: float, work: Callable[[], list[str]]) -> list[str]:
    # The system's resolver takes no time-out, so it is waited for in another thread.
    answers: SimpleQueue[list[str] | Exception] = SimpleQueue()

    def run() -> None:
        try:
            answers.put(work())
        except Exception as error:
            answers.put(error)

    threading.Thread(target=run, daemon=True, name="pairsieve-resolve").start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _resolve(host: str) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, _PORT, type=socket.SOCK_STREAM)]


def _connect(address: str, seconds: float) -> socket.socket:
    return socket.create_connection((address, _PORT), timeout=seconds)


class _Timed:
    """What http.client needs of a socket; each packet has its time, and so have all together."""

    def __init__(self, sock: ssl.SSLSocket, deadline: float, read: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._read = read

    def sendall(self, data: bytes) -> None:
        """Sends all of it."""
        self._sock.settimeout(_left(self._deadline, self._read))
        self._sock.sendall(data)

    def makefile(self, *_: Any) -> io.BufferedReader:
        """What comes back, for reading."""
        return io.BufferedReader(_Packets(self._sock, self._deadline, self._read))

    def close(self) -> None:
        """Left to who opened the connection."""


class _Packets(io.RawIOBase):
    def __init__(self, sock: ssl.SSLSocket, deadline: float, read: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._deadline, self._read))
        return self._sock.recv_into(buffer)
