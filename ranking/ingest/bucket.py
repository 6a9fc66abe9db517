"""Files of an S3 bucket as sources. The credentials are the environment's (AWS_*); nothing is written."""

import re
from datetime import timedelta
from functools import lru_cache
from typing import BinaryIO

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from ranking.errors import SourceError, StoreError, UsageError
from ranking.ingest.ranged import ranged
from ranking.ingest.sources import SourceFile
from ranking.store.bucket import find_bucket

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


def find(uri: str) -> SourceFile | list[SourceFile]:
    """The object of this name, or the objects below the prefix."""
    bucket, key = split(uri)
    store = _store(bucket)
    try:
        if key and not uri.endswith("/"):
            try:
                return _file(
                    f"s3://{bucket}/{key}", f"s3://{bucket}/{key}".rpartition("/")[0], obstore.head(store, key)
                )
            except (NotFoundError, FileNotFoundError):
                pass  # not an object: a prefix
        root = f"s3://{bucket}/{key}".rstrip("/")
        found = []
        for page in obstore.list(store, prefix=key or None):
            for entry in page:
                below = entry["path"].removeprefix(key).strip("/")
                if below and not any(part.startswith(".") for part in below.split("/")):
                    found.append(_file(f"s3://{bucket}/{entry['path']}", root, entry))
    except (BaseError, OSError) as error:
        raise _unreachable(uri, error) from error
    if not found:
        raise SourceError(f"source {uri} does not exist", code="source-missing", hint="check bucket and prefix")
    return found


def open_key(uri: str, *, size: int | None = None) -> BinaryIO:
    """An object for reading anywhere in it."""
    bucket, key = split(uri)
    store = _store(bucket)
    if size is None:
        size = int(_head(uri)["size"])

    def fetch(start: int, end: int) -> bytes:
        try:
            return bytes(obstore.get_range(store, key, start=start, end=end))
        except (BaseError, OSError) as error:
            raise OSError(str(_unreachable(uri, error))) from error

    return ranged(uri, size, fetch)


def version(uri: str) -> str:
    """The entity tag of an object, which changes with its content."""
    return _head(uri)["e_tag"] or ""


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of s3://bucket/key; UsageError for anything else, or for a server that may not be used."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not _NAME.fullmatch(bucket):
        # The text may hold a password, as in s3://key:secret@host/bucket, so it is not shown.
        raise UsageError(
            "the source's s3:// address names no bucket", code="bad-source", hint="write s3://bucket/prefix"
        )
    return bucket, key.strip("/")


def _store(bucket: str) -> S3Store:
    try:
        found = find_bucket(f"s3://{bucket}")
    except StoreError as error:
        raise UsageError(error.message, code="bad-source", hint=error.hint) from error
    return _client(bucket, found.endpoint, found.plain_http)


@lru_cache(maxsize=8)
def _client(bucket: str, endpoint: str | None, plain_http: bool) -> S3Store:
    return S3Store(
        bucket,
        endpoint=endpoint,
        client_options={"timeout": "60s", "connect_timeout": "10s", "allow_http": plain_http},
        retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=60)},
    )


def _head(uri: str) -> "obstore.ObjectMeta":
    bucket, key = split(uri)
    try:
        return obstore.head(_store(bucket), key)
    except (BaseError, OSError) as error:
        raise _unreachable(uri, error) from error


def _file(uri: str, root: str, entry: "obstore.ObjectMeta") -> SourceFile:
    return SourceFile(uri, root, int(entry["size"]), version=entry["e_tag"] or "")


def _unreachable(uri: str, error: Exception) -> SourceError:
    if isinstance(error, NotFoundError | FileNotFoundError):
        return SourceError(f"source {uri} does not exist", code="source-missing", hint="check bucket and prefix")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError):
        return SourceError(f"source {uri} may not be read", code="source-denied", hint="check the AWS_* credentials")
    reason = str(error).partition("\n")[0].rpartition(" - ")[2]  # without how often and how long it was tried
    return SourceError(
        f"source {uri} cannot be reached ({reason})",
        code="source-unreachable",
        hint="check AWS_ENDPOINT_URL, AWS_REGION and the credentials",
    )
