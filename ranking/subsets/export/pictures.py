"""Brings the rows of an export together with the bytes of their images, a bounded number at a time. Decodes nothing
beyond the header of a picture and changes no byte."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ranking.images.decode import Found, ImageError, format_of
from ranking.images.reader import POINTER, ImageReader
from ranking.subsets.export.rows import METADATA, Rows

_BUDGET: Final = 96 * 2**20  # bytes of images held by one block; one pair may exceed it
_PAIRS: Final = 128  # of a block, until its images turn out to be large
_ENDINGS: Final = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


@dataclass(frozen=True)
class Picture:
    """An image as it is stored: its bytes, and the ending that its content asks for."""

    data: bytes
    ending: str


@dataclass(frozen=True)
class LeftOut:
    """A pair that cannot be exported: its position among the rows, and why, in the words of schema.STATUSES."""

    position: int
    pair_id: str
    reason: str
    message: str


@dataclass(frozen=True)
class Block:
    """Rows of an export (METADATA) at `positions`, rising, with the images of both sides, and what lay between them
    and was left out. The images are None where none are exported."""

    rows: pa.RecordBatch
    urls: tuple[pa.Array, pa.Array]
    positions: list[int]
    pictures: tuple[list[Picture], list[Picture]] | None
    left_out: list[LeftOut]


def blocks(rows: Rows, reader: ImageReader | None, *, start: int = 0) -> Generator[Block]:
    """The rows from `start` on in blocks; without a reader, without images.

    One block is read ahead while another is used, so that twice 96 MB of images are in memory, or two pairs if those
    are more. Raises SourceError for a source that is gone, changed or damaged.
    """
    if reader is None:
        yield from _bare(rows, start)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="pairsieve-export") as ahead:
        reading = _read(rows, reader, start)
        coming = ahead.submit(next, reading, None)
        try:
            while (block := coming.result()) is not None:
                coming = ahead.submit(next, reading, None)
                yield block
        finally:
            coming.cancel()


def kind_of(data: Found) -> Picture:
    """The image with its ending; ImageError for what cannot be read, as far as its header shows."""
    ending = _ENDINGS[format_of(data)]
    assert isinstance(data, bytes), "what has a format has bytes"
    return Picture(data, ending)


def _bare(rows: Rows, start: int) -> Iterator[Block]:
    for batch in rows.batches(start):
        yield Block(batch.select(METADATA.names), _urls(batch), list(range(start, start + len(batch))), None, [])
        start += len(batch)


def _read(rows: Rows, reader: ImageReader, start: int) -> Iterator[Block]:
    size = _PAIRS
    for batch in rows.batches(start):
        done = 0
        while done < len(batch):
            part = batch.slice(done, size)
            found = _images(reader, part, budget=_BUDGET if len(part) > 1 else None)
            if found is None:  # more than may be held: with fewer pairs, then
                size = max(1, len(part) // 2)
                continue
            yield _matched(part, found, start + done)
            done += len(part)
            size = min(_PAIRS, size * 2)
        start += len(batch)


def _images(reader: ImageReader, part: pa.RecordBatch, *, budget: int | None) -> dict[str, Picture | ImageError] | None:
    """Each image of both sides by its uid; None if they take more than the budget."""
    found: dict[str, Picture | ImageError] = {}
    held = 0
    for uid, data in reader.read_each(_items(part)):
        try:
            found[uid] = kind_of(data)
            held += len(data) if isinstance(data, bytes) else 0
        except ImageError as error:
            found[uid] = error
        if budget is not None and held > budget:
            return None
    return found


def _items(part: pa.RecordBatch) -> pa.Table:
    sides = []
    for side in (0, 1):
        names = [f"image_{side}_uid", *(f"{name}_{side}" for name in POINTER[1:])]
        sides.append(pa.Table.from_batches([part.select(names)]).rename_columns(list(POINTER)))
    return pa.concat_tables(sides)


def _matched(part: pa.RecordBatch, found: dict[str, Picture | ImageError], first: int) -> Block:
    uids = [part[f"image_{side}_uid"].to_pylist() for side in (0, 1)]
    pair_ids = part["pair_id"].to_pylist()
    kept: list[int] = []
    left_out = []
    pictures: tuple[list[Picture], list[Picture]] = ([], [])
    for row, pair in enumerate(zip(*uids, strict=True)):
        both = [found[uid] for uid in pair]
        wrong = [(uid, each) for uid, each in zip(pair, both, strict=True) if isinstance(each, ImageError)]
        if wrong:
            uid, error = wrong[0]
            left_out.append(LeftOut(first + row, pair_ids[row], error.status, f"image {uid}: {error}"))
            continue
        kept.append(row)
        for side, each in zip(pictures, both, strict=True):
            assert isinstance(each, Picture)
            side.append(each)
    whole = part if not left_out else part.take(pa.array(kept, pa.int64()))
    return Block(whole.select(METADATA.names), _urls(whole), [first + row for row in kept], pictures, left_out)


def _urls(batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    files = (batch["file_0"], batch["file_1"])
    nowhere = pa.scalar(None, pa.string())
    first, second = (pc.if_else(pc.starts_with(file, "https://"), file, nowhere) for file in files)
    return first, second
