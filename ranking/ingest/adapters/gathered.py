"""Rows that each hold one ranked image, gathered into the groups of their prompts and taken apart into pairs. The rows
of a group lie together; those of a file need not fit in memory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ranking.errors import SourceError
from ranking.ingest.adapters.parquet import BATCH_ROWS
from ranking.ingest.adapters.pictures import Pictures
from ranking.ingest.adapters.ranked import MAX_IMAGES, Whole, all_pairs, labels
from ranking.ingest.adapters.rated import rated
from ranking.ingest.raw import BAD_PATH, MISSING_IMAGE, TOO_MANY_IMAGES, judgements
from ranking.ingest.sources import SourceFile

_PLACE = ("row_group", "row", "column", "file")


@dataclass(frozen=True)
class Ranked:
    """Images in the order of a file, and what people gave them (RATINGS)."""

    images: pa.Table
    ratings: pa.RecordBatch


def ranked(
    rows: pa.Array,
    groups: pa.Array,
    prompts: pa.Array,
    ranks: pa.Array,
    *,
    images: Pictures,
    values: Mapping[str, pa.Array],
) -> Ranked:
    """One image a row, its group (null: a group of its own), prompt and rank, of which a lower one is better, and its
    ratings by name."""
    table = pa.table(
        {
            "at": rows,
            "group": groups,
            "prompt": prompts,
            "rank": ranks,
            "uid": images.uids,
            "bad_path": pc.fill_null(images.bad_path, False),
            **{name: images.places[name] for name in _PLACE},
        }
    )
    return Ranked(table, rated(rows, images.uids, prompts, values))


def taken_apart(file: SourceFile, chunks: Iterator[Ranked]) -> Iterator[pa.RecordBatch]:
    """The ratings as they come, and every two images of the same group as a judgement, equal ranks as a tie.

    A group of one image or of more than 64 stays one row with its reason. SourceError if a group's rows lie apart.
    """
    held: pa.Table | None = None
    ended: set[str] = set()
    for chunk in chunks:
        if chunk.ratings.num_rows:
            yield from _cut(chunk.ratings)
        images = (chunk.images if held is None else pa.concat_tables([held, chunk.images])).combine_chunks()
        if not images.num_rows:
            continue
        starts = _starts(images)
        _note_ends(file, ended, images["group"].take(pa.array(starts[:-1])))
        yield from _cut(_judged(images.slice(0, starts[-1]), starts[:-1]))
        # One more than a group may have is enough to know that it has too many.
        held = images.slice(starts[-1], MAX_IMAGES + 1)
    if held is not None:
        _note_ends(file, ended, held["group"].slice(0, 1))
        yield from _cut(_judged(held, np.zeros(1, dtype=np.int64)))


def _starts(images: pa.Table) -> Whole:
    """Where the groups begin. Rows of no group are groups of their own, as null equals nothing."""
    groups = images["group"]
    changed = pc.fill_null(pc.not_equal(groups.slice(1), groups.slice(0, len(groups) - 1)), True)
    return np.concatenate([[0], 1 + np.flatnonzero(changed.to_numpy())]).astype(np.int64)


def _note_ends(file: SourceFile, ended: set[str], groups: pa.Array) -> None:
    for group in groups.drop_null().to_pylist():
        if group in ended:
            raise SourceError(
                f"source {file.uri} has the images of prompt {group[:50]} in several places",
                code="source-order",
                hint="sort its rows by prompt_id",
            )
        ended.add(group)


def _judged(images: pa.Table, starts: Whole) -> pa.RecordBatch:
    sizes = np.diff(np.append(starts, images.num_rows))
    too_many = sizes > MAX_IMAGES
    taken = np.where(too_many, 2, sizes)
    kept = np.flatnonzero(np.arange(images.num_rows) - np.repeat(starts, sizes) < np.repeat(taken, sizes))
    pairs = [kept[members] for members in all_pairs(taken)]
    alone = starts[sizes == 1]
    order = np.argsort(np.concatenate([pairs[0], alone]), kind="stable")
    first = np.concatenate([pairs[0], alone])[order]
    second = np.concatenate([pairs[1], np.full(len(alone), -1)])[order]
    sides = (images.take(pa.array(first)), images.take(pa.array(second, mask=second < 0)))
    label_0, label_1 = labels(*(pc.fill_null(pc.negate(side["rank"]), np.nan).to_numpy() for side in sides))
    columns = {
        "row": sides[0]["at"],
        "prompt": sides[0]["prompt"],
        "label_0": label_0,
        "label_1": label_1,
        **{f"image_{number}_uid": side["uid"] for number, side in enumerate(sides)},
        **{f"{name}_{number}": side[name] for number, side in enumerate(sides) for name in _PLACE},
    }
    crowded = np.repeat(too_many, sizes)[first]
    reasons = {
        TOO_MANY_IMAGES: pa.array(crowded),
        MISSING_IMAGE: _flat(pc.or_(sides[0]["uid"].is_null(), sides[1]["uid"].is_null())),
        BAD_PATH: _flat(pc.or_kleene(sides[0]["bad_path"], sides[1]["bad_path"])),
    }
    return judgements({name: _flat(column) for name, column in columns.items()}, reasons=reasons)


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _cut(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, BATCH_ROWS):
        yield batch.slice(start, BATCH_ROWS)
