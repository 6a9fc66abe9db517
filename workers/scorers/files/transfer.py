"""One file over https into a partial file that outlives this process, and under its final name only when it is whole
and its hash is right."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

from workers.scorers.files.digests import write_small
from workers.scorers.files.wire import TRIES, PullError, RangeError, answer

_PIECE = 1 << 20
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class Wanted:
    """One file: its address, headers for that host, and what is known of it beforehand. `name` is for people,
    `most` the size beyond which it is not taken."""

    name: str
    url: str
    headers: dict[str, str]
    most: int
    bytes: int | None = None
    sha256: str | None = None
    blob: str | None = None


def receive(http: httpx2.Client, wanted: Wanted, part: Path, arrived: Callable[[int], None]) -> str:
    """Fetch what `part` lacks and return the SHA-256 of the whole, which lies at `part` then, flushed to the disk.

    `arrived` is called with the number of bytes that are there. What an earlier attempt left is gone on with, where
    the server does ranges and the file there is the same. PullError where that cannot be; what has arrived is kept
    unless it is wrong.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    resumed = part.exists() and part.stat().st_size > 0
    try:
        _fill(http, wanted, part, arrived)
        found, blob = _hashes(part)
        if _is_wrong(wanted, part, found, blob) and resumed:
            # The old part may have been damaged when the machine went down, so only fresh bytes prove the source wrong.
            _drop(part)
            _fill(http, wanted, part, arrived)
            found, blob = _hashes(part)
    except OSError as error:
        raise _no_room(wanted, part, error) from error
    if wrong := _is_wrong(wanted, part, found, blob):
        _drop(part)
        raise PullError(
            f"{wanted.name} did not arrive as it should: {wrong}", code="wrong-bytes", hint="try again later"
        )
    return found


def forget(part: Path) -> None:
    """Remove the note about a partial file that has been put into place."""
    _note(part).unlink(missing_ok=True)


def _fill(http: httpx2.Client, wanted: Wanted, part: Path, arrived: Callable[[int], None]) -> None:
    stalled = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        if wanted.bytes is not None and before > wanted.bytes:
            _drop(part)
            before = 0
        arrived(before)
        if before == wanted.bytes and part.exists():
            return
        try:
            _append(http, wanted, part, before, arrived)
            return
        except RangeError:
            if not before:
                raise
            _drop(part)  # it is longer than what is there now
        except httpx2.HTTPError as error:  # it broke off: go on from there
            stalled = 0 if part.exists() and part.stat().st_size > before else stalled + 1
            if stalled >= TRIES:
                raise PullError(
                    f"{wanted.name} broke off {stalled} times at {before:,} bytes ({error})",
                    code="unreachable",
                    hint="run the command again to go on from there",
                ) from error


def _append(http: httpx2.Client, wanted: Wanted, part: Path, before: int, arrived: Callable[[int], None]) -> None:
    headers = dict(wanted.headers)
    if before and wanted.sha256 is None and wanted.blob is None:
        # Nothing but the tag would tell that the rest is of another file.
        tag = _tag(part, wanted)
        before = before if tag else 0
        headers |= {"if-range": tag} if tag else {}
    if before:
        headers["range"] = f"bytes={before}-"
    with answer(http, wanted.url, what=wanted.name, headers=headers) as response:
        start, whole = _begins(response)
        if start not in (0, before) or (whole is not None and wanted.bytes not in (None, whole)):
            raise PullError(
                f"{wanted.name} has {whole or 0:,} bytes where {wanted.bytes or 0:,} are expected",
                code="wrong-bytes",
                hint="check the source",
            )
        if whole is not None and whole > wanted.most:
            raise PullError(
                f"{wanted.name} has {whole:,} bytes, more than the {wanted.most:,} allowed", code="too-large"
            )
        _keep_tag(part, wanted, response.headers.get("etag"))
        with part.open("r+b" if start else "wb", buffering=_PIECE) as file:
            file.seek(start)
            have = start
            for piece in response.iter_bytes():
                have += len(piece)
                if have > (wanted.bytes if wanted.bytes is not None else wanted.most):
                    raise PullError(f"{wanted.name} goes on after its {have:,} bytes", code="too-large")
                file.write(piece)
                arrived(have)
            file.flush()
            os.fsync(file.fileno())
    if wanted.bytes is not None and have < wanted.bytes:
        raise httpx2.RemoteProtocolError(f"it ended at {have:,} of {wanted.bytes:,} bytes")


def _begins(response: httpx2.Response) -> tuple[int, int | None]:
    """At which byte an answer begins, and how large the whole is."""
    if response.status_code == 206:
        found = _RANGE.fullmatch(response.headers.get("content-range", ""))
        return (int(found[1]), None if found[2] == "*" else int(found[2])) if found else (-1, None)
    length = response.headers.get("content-length", "")
    return 0, int(length) if length.isdecimal() else None


def _is_wrong(wanted: Wanted, part: Path, sha256: str, blob: str) -> str:
    size = part.stat().st_size
    if wanted.bytes is not None and size != wanted.bytes:
        return f"it has {size:,} bytes, not {wanted.bytes:,}"
    if wanted.sha256 is not None and sha256 != wanted.sha256:
        return f"its sha256 is {sha256[:12]}…, not {wanted.sha256[:12]}…"
    if wanted.blob is not None and blob != wanted.blob:
        return f"its git hash is {blob[:12]}…, not {wanted.blob[:12]}…"
    return ""


def _hashes(path: Path) -> tuple[str, str]:
    """SHA-256, and the SHA-1 that git names the file by."""
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            sha256.update(piece)
            blob.update(piece)
    return sha256.hexdigest(), blob.hexdigest()


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _tag(part: Path, wanted: Wanted) -> str | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(_note(part).read_bytes())
        return str(note["etag"]) if note["url"] == wanted.url else None
    return None


def _keep_tag(part: Path, wanted: Wanted, tag: str | None) -> None:
    if tag and tag.startswith('"'):  # a weak tag promises nothing about bytes
        write_small(_note(part), {"url": wanted.url, "etag": tag})
    else:
        forget(part)


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    forget(part)


def _no_room(wanted: Wanted, part: Path, error: OSError) -> PullError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return PullError(
        f"{wanted.name} cannot be written to {part.parent}: {error.strerror or error}",
        code="disk-full" if full else "not-writable",
        hint="make room and run the command again to go on" if full else "check PAIRSIEVE_WEIGHTS",
    )
