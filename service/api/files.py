"""Immutable bytes over HTTP: strong ETags made from SHA-256, 304, single ranges, cache headers. Not where
bytes come from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from service.problems import ApiProblem

IMMUTABLE: Final = "private, max-age=31536000, immutable"
REVALIDATE: Final = "private, no-cache"
_CHUNK: Final = 256 * 1024
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def etag(sha256: str) -> str:
    """The strong ETag of content with this hash."""
    return f'"sha256-{sha256}"'


def send_file(
    request: Request, path: Path, *, sha256: str, media_type: str, file_name: str, immutable: bool = True
) -> Response:
    """The file, a range of it, or 304. `sha256` must be that of its bytes."""
    size = path.stat().st_size
    headers = _headers(sha256, immutable=immutable) | {"content-disposition": f'attachment; filename="{file_name}"'}
    if _unchanged(request, sha256):
        return Response(status_code=304, headers=headers)
    start, end, partial = _wanted(request, size, sha256)
    headers["content-length"] = str(end - start)
    if partial:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if partial else 200
    return StreamingResponse(_read(path, start, end), status, headers, media_type)


def send_bytes(request: Request, data: bytes, *, sha256: str, media_type: str, immutable: bool) -> Response:
    """The bytes, a range of them, or 304. `sha256` must be theirs."""
    headers = _headers(sha256, immutable=immutable)
    if _unchanged(request, sha256):
        return Response(status_code=304, headers=headers)
    start, end, partial = _wanted(request, len(data), sha256)
    if partial:
        headers["content-range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return Response(data[start:end], 206 if partial else 200, headers, media_type)


def _headers(sha256: str, *, immutable: bool) -> dict[str, str]:
    return {
        "etag": etag(sha256),
        "accept-ranges": "bytes",
        "cache-control": IMMUTABLE if immutable else REVALIDATE,
    }


def _unchanged(request: Request, sha256: str) -> bool:
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return etag(sha256) in known or "*" in known


def _wanted(request: Request, size: int, sha256: str) -> tuple[int, int, bool]:
    """(start, end, partial): which bytes are asked for. Several ranges, and ranges of another version, give
    all."""
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or match.groups() == ("", "") or request.headers.get("if-range", etag(sha256)) != etag(sha256):
        return 0, size, False
    first, last = match.groups()
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return 0, size, False
    else:
        start, end = max(size - int(last), 0), size
    if start >= size:
        raise ApiProblem(
            "range-not-satisfiable",
            f"The file has {size} bytes.",
            headers={"content-range": f"bytes */{size}"},
        )
    return start, end, True


def _read(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        left = end - start
        while left > 0:
            chunk = file.read(min(_CHUNK, left))
            if not chunk:
                raise OSError(f"{path} ended early")
            left -= len(chunk)
            yield chunk
