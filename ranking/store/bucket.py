"""Where a bucket is and how it may be reached, from a store's URI and the usual AWS_ variables. Connects to nothing,
so the folder for messages can be named without a network."""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from ranking.errors import StoreError
from ranking.names import sha256_hex
from ranking.settings import load_settings

SCHEME = "s3://"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_YES = ("1", "true", "yes", "on")


@dataclass(frozen=True)
class Bucket:
    """A bucket, the prefix of our keys in it ("" for none) and the server that has it (None for AWS itself)."""

    name: str
    prefix: str
    endpoint: str | None

    @property
    def uri(self) -> str:
        """How the store is named."""
        return f"{SCHEME}{self.name}/{self.prefix}".rstrip("/")

    @property
    def server(self) -> str:
        """The server's name for people: no port of AWS, no password of anybody."""
        parts = urlsplit(self.endpoint or "https://s3.amazonaws.com")
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)

    @property
    def plain_http(self) -> bool:
        """Whether what is sent can be read on the way."""
        return urlsplit(self.endpoint or "").scheme == "http"

    @property
    def workspace(self) -> Path:
        """This store's own folder under PAIRSIEVE_CACHE; another for the same name on another server."""
        root = Path(os.path.abspath(Path(load_settings().cache).expanduser()))  # noqa: PTH100 - keeps links
        if any(char in str(root) for char in "*?["):
            raise StoreError(f"PAIRSIEVE_CACHE {root} has one of * ? [ in its path", hint="choose another folder")
        return root / sha256_hex(f"{self.endpoint or ''} {self.uri}".encode())[:32]


def is_bucket(uri: str) -> bool:
    """Whether a store's URI names a bucket."""
    return uri.startswith(SCHEME)


def find_bucket(uri: str) -> Bucket:
    """The bucket that s3://bucket/prefix names in this environment; StoreError for a URI or an endpoint that we
    do not use."""
    name, _, prefix = uri.removeprefix(SCHEME).partition("/")
    prefix = prefix.rstrip("/")
    if not _NAME.fullmatch(name) or not _is_plain(prefix):
        # The text may hold a password, as in s3://key:secret@host/bucket, so it is not shown.
        raise StoreError(
            "the store's s3:// address is not s3://bucket/prefix",
            code="unsupported-store",
            hint="set PAIRSIEVE_STORE to s3://bucket/prefix, and keys and endpoint by the AWS_ variables",
        )
    bucket = Bucket(
        name, prefix, next((os.environ[key].rstrip("/") for key in _ENDPOINTS if os.environ.get(key)), None)
    )
    parts = urlsplit(bucket.endpoint or "https://")
    if parts.scheme not in ("http", "https") or (bucket.endpoint and not parts.hostname) or parts.username:
        raise StoreError(
            "AWS_ENDPOINT_URL is not the address of a server",
            code="unsupported-store",
            hint="set it to https://host:port, and the keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    if bucket.plain_http and not _is_loopback(parts) and os.environ.get("AWS_ALLOW_HTTP", "").lower() not in _YES:
        raise StoreError(
            f"the bucket's server {bucket.server} is reached by http, which anyone on the way can read and change",
            code="unsupported-store",
            hint="use https, or set AWS_ALLOW_HTTP=true on a private network",
        )
    return bucket


def workspace_of(uri: str) -> Path:
    """The local folder that belongs to a store, for what is unfinished, fetched or, without Redis, sent: the store's
    own folder, or for a bucket one under PAIRSIEVE_CACHE."""
    if is_bucket(uri):
        return find_bucket(uri).workspace
    return Path(os.path.abspath(Path(uri.removeprefix("file://")).expanduser()))  # noqa: PTH100 - keeps links


def _is_plain(prefix: str) -> bool:
    return not prefix or not (
        any(part in ("", ".", "..") for part in prefix.split("/"))
        or any(char in prefix for char in "?#\\@:")
        or not prefix.isprintable()
    )


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may resolve to anything tomorrow
