"""Messages between the engine and its decoder processes: a line of JSON and the bytes it speaks of, over a socket.

No object is ever rebuilt from bytes but numbers, text and plain arrays: what comes back was made from pictures of
strangers.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict
from struct import Struct
from typing import Any

import numpy as np

from ranking.images.facts import ImageFacts
from workers.engine.decoding import NUMBERS, Examined, Seen, Wanted
from workers.scorers.base import View

_HEAD = Struct("<II")  # bytes of the JSON, number of buffers
_SIZE = Struct("<Q")
_LONGEST_JSON = 1 << 20
_LONGEST_TEXT = 500


class FrameError(Exception):
    """What came is no message of ours."""


def send(sock: socket.socket, head: Any, buffers: Sequence[memoryview | bytes] = ()) -> None:
    """Send JSON and buffers. OSError if the other side is gone."""
    text = json.dumps(head).encode()
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    sizes = b"".join(_SIZE.pack(len(view)) for view in views)
    sock.sendall(_HEAD.pack(len(text), len(views)) + sizes + text)
    for view in views:
        sock.sendall(view)


def receive(sock: socket.socket, *, most: int) -> tuple[Any, list[memoryview]] | None:
    """The next message, or None where the other side has ended. FrameError for more than `most` bytes of buffers or
    what does not read; OSError (TimeoutError among them) from the socket."""
    start = _exactly(sock, _HEAD.size)
    if start is None:
        return None
    length, count = _HEAD.unpack(start)
    if length > _LONGEST_JSON or count > _LONGEST_JSON // _SIZE.size:
        raise FrameError("a message without end")
    rest = _exactly(sock, count * _SIZE.size + length)
    if rest is None:
        return None
    sizes = [_SIZE.unpack_from(rest, _SIZE.size * place)[0] for place in range(count)]
    if sum(sizes) > most:
        raise FrameError(f"{sum(sizes):,} bytes in one message")
    try:
        head = json.loads(bytes(rest[count * _SIZE.size :]))
    except ValueError as error:
        raise FrameError("a message that is no JSON") from error
    body = _exactly(sock, sum(sizes))
    if body is None:
        return None
    buffers, start_at = [], 0
    for size in sizes:
        buffers.append(body[start_at : start_at + size])
        start_at += size
    return head, buffers


def _exactly(sock: socket.socket, size: int) -> memoryview | None:
    held = memoryview(bytearray(size))
    filled = 0
    while filled < size:
        got = sock.recv_into(held[filled:])
        if not got:
            return None
        filled += got
    return held


def pack_wanted(wanted: Wanted) -> dict[str, Any]:
    """What is wanted, as JSON."""
    views = [view.content() for view in wanted.views]
    return {"views": views, "facts": wanted.facts, "thumbnails": wanted.thumbnails}


def unpack_wanted(packed: dict[str, Any]) -> Wanted:
    """The inverse of `pack_wanted`."""
    views = (
        View(make, tuple((name, _hashable(value)) for name, value in options), version)
        for make, options, version in packed["views"]
    )
    return Wanted(tuple(views), packed["facts"], packed["thumbnails"])


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def pack_examined(examined: Examined, wanted: Wanted) -> tuple[dict[str, Any], list[memoryview | bytes]]:
    """What was made of a picture, as JSON and buffers: the arrays of the views in their order, then the thumbnail."""
    buffers: list[memoryview | bytes] = []
    seen: list[Any] | str
    if isinstance(examined.seen, str):
        seen = examined.seen
    else:
        seen = []
        for view in wanted.views:
            array = examined.seen[view]
            if isinstance(array, str):
                seen.append(array)
                continue
            seen.append([array.dtype.str, array.shape])
            buffers.append(array.reshape(-1).view(np.uint8).data if array.size else b"")
    if examined.thumbnail is not None:
        buffers.append(examined.thumbnail)
    head = {
        "seen": seen,
        "facts": asdict(examined.facts) if examined.facts is not None else None,
        "thumbnail": examined.thumbnail is not None,
        "error": examined.error[:_LONGEST_TEXT],
        "seconds": examined.seconds,
    }
    return head, buffers


def unpack_examined(head: Any, buffers: Sequence[memoryview], wanted: Wanted) -> Examined:
    """The inverse of `pack_examined`. Arrays are views of the buffers. FrameError where they do not fit."""
    try:
        rest = list(buffers)
        seen: dict[View, Seen] | str
        if isinstance(head["seen"], str):
            seen = head["seen"]
        else:
            seen = {view: _array(each, rest) for view, each in zip(wanted.views, head["seen"], strict=True)}
        thumbnail = bytes(rest.pop(0)) if head["thumbnail"] else None
        facts = ImageFacts(**head["facts"]) if head["facts"] is not None else None
        return Examined(seen, facts, thumbnail, str(head["error"]), float(head["seconds"]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FrameError(f"an answer that does not fit ({error})") from error


def _array(each: Any, rest: list[memoryview]) -> Seen:
    if isinstance(each, str):
        return each
    name, shape = each
    dtype = np.dtype(str(name))
    if dtype.kind not in NUMBERS:
        raise FrameError(f"an array of {dtype}")
    return np.frombuffer(rest.pop(0), dtype).reshape([int(size) for size in shape])
