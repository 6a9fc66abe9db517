"""Writes the scores of a snapshot as a table that others can read and `imports` takes back bit for bit. Streams batch
by batch; holds no table of pairs or items."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ranking.errors import UnknownNameError
from ranking.exchange.files import check_new, write_table
from ranking.features.items import ItemScores, item_scores
from ranking.features.wide import pinned_dataset
from ranking.schema import OK, STATUSES
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot

Progress = Callable[[int, int], None]
"""Called as progress(done, total) in rows."""

By = Literal["item", "pair"]

ITEM_COLUMNS: pa.Schema = pa.schema(
    [
        ("image_uid", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("score", pa.float32()),
        ("status", pa.string()),
    ]
)
PAIR_COLUMNS: pa.Schema = pa.schema(
    [
        ("pair_id", pa.string()),
        ("image_0_uid", pa.string()),
        ("image_1_uid", pa.string()),
        ("prompt_id", pa.string()),
        ("score_0", pa.float32()),
        ("score_1", pa.float32()),
        ("status_0", pa.string()),  # "ok"; why there is no score; or null where nothing is committed
        ("status_1", pa.string()),
    ]
)

_ROWS: Final = 65_536
_WORDS: Final = pa.array([*STATUSES, None], pa.string())


@dataclass(frozen=True)
class ExportReport:
    """What was written where: rows, and how many scores they hold."""

    path: str
    scorer_id: str
    by: By
    rows: int
    scores: int
    bytes: int


def export_scores(
    store: Store,
    snapshot: Snapshot,
    dataset: str,
    *,
    scorer: str,
    to: Path,
    by: By = "item",
    progress: Progress | None = None,
) -> ExportReport:
    """Write one scorer's scores of a dataset to a `.parquet`, `.csv` or `.jsonl` file: a row for each item that is
    committed (ITEM_COLUMNS), or for each pair (PAIR_COLUMNS).

    The file appears whole or not at all. Raises UsageError for another ending or a file that is there, UnknownNameError
    for a scorer that the snapshot does not have, StoreError for a damaged file of the store or a disk that takes no
    more.
    """
    pinned = pinned_dataset(store, snapshot, dataset)
    if scorer not in snapshot.scorers:
        raise UnknownNameError.among("scorer", scorer, snapshot.scorers)
    check_new(to)
    scorer_id = snapshot.scorers[scorer]
    units = {piece.unit for piece in pinned.slices}
    members = [member for member in snapshot.members if member.scorer_id == scorer_id and member.unit in units]
    scores = item_scores(store, pinned, members)
    counted = _Counted(progress, sum(member.rows for member in members) if by == "item" else pinned.n_pairs)
    if by == "item":
        schema, batches = ITEM_COLUMNS, _items(pinned.items_paths(store), scores)
    else:
        schema, batches = PAIR_COLUMNS, _pairs(pinned.pairs_paths(store), scores)
    write_table(to, pa.RecordBatchReader.from_batches(schema, counted.each(batches)))
    found = scores.status == STATUSES.index(OK)
    return ExportReport(str(to), scorer_id, by, counted.rows, int(found.sum()), to.stat().st_size)


def _items(paths: Sequence[Path], scores: ItemScores) -> Iterator[pa.RecordBatch]:
    names, start = ITEM_COLUMNS.names[:3], 0
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=names):
                part = slice(start, start + batch.num_rows)
                start = part.stop
                status = scores.status[part]
                columns = [*(batch[name] for name in names), _numbers(scores.values[part]), _spelled(status)]
                made = pa.RecordBatch.from_arrays(columns, schema=ITEM_COLUMNS)
                yield made.filter(pa.array(status >= 0))


def _pairs(paths: Sequence[Path], scores: ItemScores) -> Iterator[pa.RecordBatch]:
    names = ["pair_id", "image_0_uid", "image_1_uid", "prompt_id"]
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=[*names, "item_0", "item_1"]):
                ends = [batch[name].to_numpy() for name in ("item_0", "item_1")]
                columns = [batch[name] for name in names]
                columns += [_numbers(scores.values[items]) for items in ends]
                columns += [_spelled(scores.status[items]) for items in ends]
                yield pa.RecordBatch.from_arrays(columns, schema=PAIR_COLUMNS)


def _numbers(values: npt.NDArray[np.float32]) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _spelled(codes: npt.NDArray[np.int8]) -> pa.Array:
    return _WORDS.take(pa.array(np.where(codes < 0, len(STATUSES), codes)))


@dataclass
class _Counted:
    """Batches with their rows counted and told as they go by."""

    progress: Progress | None
    total: int
    rows: int = 0

    def each(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            yield batch
            self.rows += batch.num_rows
            if self.progress:
                self.progress(self.rows, self.total)
