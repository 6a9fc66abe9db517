"""Cuts the rows of an export into shards and, within those, into groups that are written at once: by what they hold
alone, so that the same rows are cut alike however they were read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ranking.subsets.export.pictures import Block, LeftOut, Picture
from ranking.subsets.export.rows import METADATA

_GROUP_BYTES: Final = 32 * 2**20
_GROUP_ROWS: Final = 128  # with images; a reader that wants one row decodes a group of them
_BARE_ROWS: Final = 65_536
_BESIDE: Final = 256  # bytes that a row is taken to have besides its images and prompt


@dataclass
class Group:
    """Rows to be written together (METADATA), the images of both sides, and addresses where the dataset has them.
    `first` and `last` say whether a shard begins or ends with it; positions before `stop` are dealt with by then."""

    rows: pa.Table
    urls: tuple[pa.ChunkedArray, pa.ChunkedArray]
    pictures: tuple[list[Picture], list[Picture]] | None
    start: int
    stop: int
    last: bool
    left_out: list[LeftOut]


@dataclass
class _Held:
    """What waits to be written."""

    parts: list[tuple[pa.RecordBatch, tuple[pa.Array, pa.Array]]] = field(default_factory=list)
    pictures: tuple[list[Picture], list[Picture]] = field(default_factory=lambda: ([], []))
    left_out: list[LeftOut] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0


def cut(blocks: Iterator[Block], *, shard_bytes: int, start: int, end: int) -> Iterator[Group]:
    """The rows of the blocks in groups: at most 128 rows or 32 MiB (one row may have more), and without images 65,536
    rows. A shard ends before the row with which it would have more than `shard_bytes`, and with the last row.

    The blocks begin at position `start`, and a shard begins there; `end` is the number of positions. Where every row
    is left out there is one group without rows.
    """
    held, in_shard = _Held(), 0
    images = False
    for block in blocks:
        images = block.pictures is not None
        most = _GROUP_ROWS if images else _BARE_ROWS
        sizes = _sizes(block)
        taken = 0
        dropped = list(block.left_out)
        for row, size in enumerate(sizes):
            full = held.rows + (row - taken) > 0 and in_shard + size > shard_bytes
            if full or held.rows + (row - taken) == most or (held.bytes and held.bytes + size > _GROUP_BYTES):
                _hold(held, block, taken, row)
                taken = row
                stop = block.positions[row]
                while dropped and dropped[0].position < stop:
                    held.left_out.append(dropped.pop(0))
                yield _group(held, images, start=start, stop=stop, last=full)
                held, start = _Held(), stop
                in_shard = 0 if full else in_shard
            held.bytes += size
            in_shard += size
        _hold(held, block, taken, len(sizes))
        held.left_out += dropped
    yield _group(held, images, start=start, stop=end, last=True)


def _sizes(block: Block) -> list[int]:
    prompts = pc.fill_null(pc.binary_length(block.rows["prompt"]), 0).to_pylist()
    if block.pictures is None:
        return [_BESIDE + prompt for prompt in prompts]
    first, second = block.pictures
    return [
        _BESIDE + prompt + len(one.data) + len(other.data)
        for prompt, one, other in zip(prompts, first, second, strict=True)
    ]


def _hold(held: _Held, block: Block, start: int, stop: int) -> None:
    held.parts.append((block.rows.slice(start, stop - start), tuple(u.slice(start, stop - start) for u in block.urls)))
    held.rows += stop - start
    if block.pictures:
        for side, more in zip(held.pictures, block.pictures, strict=True):
            side += more[start:stop]


def _group(held: _Held, images: bool, *, start: int, stop: int, last: bool) -> Group:
    return Group(
        pa.Table.from_batches([part for part, _ in held.parts], schema=METADATA),
        tuple(pa.chunked_array([urls[side] for _, urls in held.parts], pa.string()) for side in (0, 1)),
        held.pictures if images else None,
        start,
        stop,
        last,
        held.left_out,
    )
