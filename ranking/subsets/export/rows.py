"""Which pairs of a subset leave the store, in which order and with what is known of them: the table that every export
is made from. Reads no image."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ranking import duck
from ranking.datasets import Dataset
from ranking.errors import StoreError
from ranking.features.wide import pinned_dataset
from ranking.flags.copies import uids_taken
from ranking.flags.takedowns import LiveTakedowns
from ranking.images.reader import POINTER
from ranking.names import sha256_hex
from ranking.store.blobs import Store
from ranking.store.parquet import Layout, new_spill, write_parquet, writing
from ranking.store.snapshots import Snapshot, get_snapshot
from ranking.subsets.catalog import Subset

METADATA: pa.Schema = pa.schema(
    [
        ("rank", pa.int64()),  # within the subset; 1 is the best
        ("pair_id", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("image_0_uid", pa.string()),
        ("image_1_uid", pa.string()),
        ("label_0", pa.float64()),  # 1 where image 0 wins by the subset's labels, else 0; never a tie
        ("label_1", pa.float64()),
        ("preference", pa.float64()),  # probability that the winner is the better one
        ("weight", pa.float64()),  # what to multiply the pair's loss by
        ("metric", pa.float64()),
        ("label_source", pa.string()),
        ("human_label_0", pa.float64()),  # as the dataset has it: 1, 0, or 0.5 for a tie
        ("rater", pa.string()),
        ("model_0", pa.string()),
        ("model_1", pa.string()),
        ("votes_0", pa.float64()),
        ("votes_1", pa.float64()),
        ("created_at", pa.timestamp("us")),
        ("prompt_pairs", pa.int64()),  # pairs of this prompt in the export
    ]
)
"""One row per pair that leaves the store, the best first, images on the sides where the dataset has them."""

_KINDS: Final = {"source": pa.int32(), "row_group": pa.int32(), "row": pa.int64()}
PLACES: pa.Schema = pa.schema(
    [(f"{name}_{side}", _KINDS.get(name, pa.string())) for side in (0, 1) for name in POINTER[1:]]
)
"""Where the bytes of both images lie, beside METADATA: the columns of `images.reader.POINTER`."""

_ROWS: Final = 4096  # of a row group of the table, and of a batch read from it
_LAYOUT: Final = Layout("none", _ROWS, dictionaries=False, checksums=False)
_TABLE: pa.Schema = pa.schema([*METADATA, *PLACES])

_PICKED = """
CREATE TABLE picked AS
SELECT
    s.*, p.* EXCLUDE (pair_id, prompt_id, prompt, source, row, item_0, item_1),
    s.winner_uid = p.image_0_uid AS first_wins
FROM {subset} s JOIN {pairs} p USING (pair_id)
WHERE (s.winner_uid = p.image_0_uid AND s.loser_uid = p.image_1_uid)
   OR (s.winner_uid = p.image_1_uid AND s.loser_uid = p.image_0_uid)
"""

_WITHHELD = """
DELETE FROM picked WHERE image_0_uid IN (SELECT uid FROM withheld) OR image_1_uid IN (SELECT uid FROM withheld)
"""

# An image under several pointers is read by the first that leads to a source, as ImageReader.places has it.
_POINTERS = """
CREATE TABLE pointers AS
SELECT DISTINCT ON (image_uid) {columns}
FROM {items} SEMI JOIN (
    SELECT image_0_uid AS uid FROM picked UNION SELECT image_1_uid FROM picked
) ON image_uid = uid
ORDER BY image_uid, "column" IS NULL AND file IS NULL, source, row
"""

_ORDERED = """
SELECT
    rank, pair_id, prompt_id, prompt, image_0_uid, image_1_uid,
    first_wins::DOUBLE AS label_0, (NOT first_wins)::DOUBLE AS label_1,
    preference, weight, metric, label_source, picked.label_0 AS human_label_0,
    rater, model_0, model_1, votes_0, votes_1, created_at,
    count(*) OVER (PARTITION BY prompt_id) AS prompt_pairs,
    {places}
FROM picked
LEFT JOIN pointers a ON a.image_uid = image_0_uid
LEFT JOIN pointers b ON b.image_uid = image_1_uid
ORDER BY rank
"""


@dataclass(frozen=True)
class Rows:
    """The table of an export: a Parquet file of METADATA and PLACES, `count` rows, the best first. `withheld` pairs of
    the subset are not in it, because an image of theirs was taken down; `withheld_sha` names which images were."""

    path: Path
    count: int
    withheld: int
    withheld_sha: str
    dataset: Dataset
    snapshot: Snapshot

    def batches(self, start: int = 0, *, size: int = _ROWS) -> Iterator[pa.RecordBatch]:
        """Its rows from `start` on, at most `size` at a time."""
        with pq.ParquetFile(self.path, pre_buffer=False) as file:
            passed = 0
            for group in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                passed += rows
                if passed <= start:
                    continue
                skip = max(0, start - (passed - rows))
                held = file.read_row_group(group).slice(skip).combine_chunks()
                yield from held.to_batches(max_chunksize=size)

    def metadata(self, *, size: int = 65_536) -> Iterator[pa.RecordBatch]:
        """The same without the places (METADATA schema)."""
        for batch in self.batches(size=size):
            yield batch.select(METADATA.names)


@contextmanager
def exported_rows(store: Store, subset: Subset) -> Iterator[Rows]:
    """The table of a subset's export, which is gone afterwards.

    Raises StoreError for a file of the store that is damaged, or for a subset whose pairs its dataset does not have.
    """
    snapshot = get_snapshot(store, subset.snapshot.n)
    dataset = pinned_dataset(store, snapshot, subset.dataset)
    picked = store.checked_path(subset.pairs_key, subset.sha256)
    pairs, items = dataset.pairs_paths(store), dataset.items_paths(store)
    withheld = _withheld(store, dataset)
    with writing(store, f"export of {subset.ref}") as path:
        with duck.connect(memory_limit=duck.MEMORY, temp_directory=new_spill(store)) as con:
            con.execute(_PICKED.format(subset=_subset_scan(picked), pairs=duck.parquet_scan(pairs)))
            found = _count(con)
            if found != subset.rows:
                raise StoreError(
                    f"dataset {subset.dataset} has {found} of the {subset.rows} pairs of {subset.ref}",
                    code="damaged",
                    hint="check the store with `pairsieve store audit`",
                )
            if len(withheld):
                con.register("withheld", pa.table({"uid": withheld}))
                con.execute(_WITHHELD)
            count = _count(con)
            columns = ", ".join(duck.identifier(name) for name in POINTER)
            con.execute(_POINTERS.format(columns=columns, items=duck.parquet_scan(items)))
            write_parquet(path, _TABLE, _ordered(con), layout=_LAYOUT)
        yield Rows(path, count, found - count, _sha_of(withheld), dataset, snapshot)


def _withheld(store: Store, dataset: Dataset) -> pa.Array:
    """The uids of the dataset's images that are taken down now, whatever the subset's snapshot knew of it: the one
    place where exports learn of take-downs. Images that nobody has hashed yet are told by their bytes when they are
    read, by ImageReader."""
    return pa.array(sorted(uids_taken(store, dataset, LiveTakedowns(store).now())), pa.string())


def _sha_of(uids: pa.Array) -> str:
    return sha256_hex("\n".join(uids.to_pylist()).encode()) if len(uids) else ""


def _subset_scan(path: Path) -> str:
    """The subset's pairs; those of before there were soft labels and weights have the values that mean neither."""
    known = pq.read_schema(path).names
    added = "".join(f", 1.0::DOUBLE AS {name}" for name in ("preference", "weight") if name not in known)
    return f"(SELECT *{added} FROM {duck.parquet_scan([path])})"


def _ordered(con: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    places = ", ".join(
        f"{alias}.{duck.identifier(name)} AS {duck.identifier(f'{name}_{side}')}"
        for side, alias in ((0, "a"), (1, "b"))
        for name in POINTER[1:]
    )
    for batch in con.sql(_ORDERED.format(places=places)).to_arrow_reader(_ROWS):
        yield batch.cast(_TABLE)


def _count(con: duckdb.DuckDBPyConnection) -> int:
    return int(con.sql("SELECT count(*) FROM picked").fetchall()[0][0])
