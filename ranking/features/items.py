"""What is known of each item of a dataset, as vectors in the order of its items: scores, people's ratings, facts of
its image. Joins by position, which commits promise; knows nothing of pairs."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking import duck
from ranking.datasets import Dataset
from ranking.errors import StoreError
from ranking.features.copies import near_copies
from ranking.schema import OK, STATUSES
from ranking.store.blobs import Store
from ranking.store.parquet import new_spill
from ranking.store.snapshots import Member

T = TypeVar("T")

_THREADS = 4
_UNSCORED = -1


@dataclass(frozen=True)
class ItemScores:
    """One scorer's word on n items: `values` float32 of shape (n,), NaN where there is none; `status` int8 of shape
    (n,), a position in schema.STATUSES or −1 where nothing is committed yet."""

    values: npt.NDArray[np.float32]
    status: npt.NDArray[np.int8]


@dataclass(frozen=True)
class ItemFacts:
    """Facts of the images of n items, arrays of shape (n,): `width`, `height` int32 and `phash` uint64 hold only where
    `known`; `bytes_id` numbers equal contents (−1 unknown), `cluster` near-duplicates (the number of an image);
    `copies` and `cluster_size` count different image uids; 0 where unknown."""

    known: npt.NDArray[np.bool_]
    width: npt.NDArray[np.int32]
    height: npt.NDArray[np.int32]
    phash: npt.NDArray[np.uint64]
    bytes_id: npt.NDArray[np.int32]
    copies: npt.NDArray[np.int32]
    cluster: npt.NDArray[np.int32]
    cluster_size: npt.NDArray[np.int32]


def item_scores(store: Store, dataset: Dataset, members: Sequence[Member]) -> ItemScores:
    """One scorer's scores from its commits, every file hashed before it is read. StoreError for a file that is
    damaged or does not have its slice's number of rows."""
    starts = unit_starts(dataset)
    found = ItemScores(
        np.full(dataset.n_items, np.nan, np.float32),
        np.full(dataset.n_items, _UNSCORED, np.int8),
    )

    def place(member: Member, path: Path) -> None:
        table = _read(path, ["score", "status"])
        start, rows = starts[member.unit]
        if table.num_rows != rows:
            raise StoreError(f"{member.file} has {table.num_rows} rows for {rows} items", code="damaged")
        found.values[start : start + rows] = table["score"].to_numpy()
        found.status[start : start + rows] = _codes(table["status"])

    _each(store, members, place)
    return found


def unit_starts(dataset: Dataset) -> dict[str, tuple[int, int]]:
    """For each unit of the dataset the position of its first item, counted over all items files, and its rows."""
    ends = accumulate(file.rows for file in dataset.items_files)
    begins = {file.file: end - file.rows for file, end in zip(dataset.items_files, ends, strict=True)}
    return {piece.unit: (begins[piece.file] + piece.start, piece.rows) for piece in dataset.slices}


def item_ratings(store: Store, dataset: Dataset) -> dict[str, npt.NDArray[np.float64]]:
    """For each kind of rating its value for every item, float64 of shape (n_items,), NaN where nobody rated; the mean
    where several did. A rating without a prompt holds for the image under every prompt."""
    if not dataset.ratings_files:
        return {}
    ratings, items = (duck.parquet_scan(paths(store)) for paths in (dataset.ratings_paths, dataset.items_paths))
    with duck.connect(memory_limit=duck.MEMORY, temp_directory=new_spill(store)) as con:
        con.execute(f"CREATE TABLE items AS SELECT row_number() OVER () - 1 AS item, image_uid, prompt_id FROM {items}")
        found = duck.arrow(
            con,
            f"""SELECT name, item, avg(value ORDER BY value) AS value
                FROM items JOIN {ratings} ratings
                    ON ratings.image_uid = items.image_uid AND coalesce(ratings.prompt_id = items.prompt_id, true)
                GROUP BY name, item""",
        )
    vectors = {}
    for name in sorted(pc.unique(found["name"]).to_pylist()):
        chosen = found.filter(pc.equal(found["name"], name))
        vectors[name] = np.full(dataset.n_items, np.nan)
        vectors[name][chosen["item"].to_numpy()] = chosen["value"].to_numpy()
    return vectors


def rating_names(store: Store, dataset: Dataset) -> list[str]:
    """The kinds of ratings the dataset has, sorted."""
    names: set[str] = set()
    for path in dataset.ratings_paths(store):
        names.update(pc.unique(pq.read_table(path, columns=["name"], partitioning=None)["name"]).to_pylist())
    return sorted(names)


def item_facts(store: Store, dataset: Dataset, members: Sequence[Member]) -> ItemFacts | None:
    """The facts of every item's image from their commits, or None if there are none at all."""
    if not members:
        return None
    columns = ["image_uid", "sha256", "width", "height", "phash", "status"]
    uids = image_numbers(store, dataset)
    facts = pa.concat_tables(_each(store, members, lambda _, path: _read(path, columns)))
    # An image of several slices is the same in all of them, but one of them may not have got it: the last that did, in
    # the snapshot's order, counts.
    image = pc.index_in(facts["image_uid"], uids.dictionary)
    facts = facts.filter(pc.is_valid(image))
    number = image.drop_null().to_numpy()
    n = len(uids.dictionary)
    content = np.full(n, -1, np.int32)
    hashes = pc.dictionary_encode(facts["sha256"].combine_chunks())
    read = hashes.indices.is_valid().to_numpy(zero_copy_only=False)
    content[number[read]] = hashes.indices.drop_null().to_numpy()
    good = pc.equal(facts["status"], OK).to_numpy()
    known = np.zeros(n, bool)
    known[number[good]] = True
    phash, width, height = np.zeros(n, np.uint64), np.zeros(n, np.int32), np.zeros(n, np.int32)
    for name, vector in (("phash", phash), ("width", width), ("height", height)):
        vector[number[good]] = facts[name].filter(pa.array(good)).to_numpy()
    copies = np.bincount(content[content >= 0], minlength=max(1, len(hashes.dictionary)))
    cluster = near_copies(phash, known)
    sizes = np.bincount(cluster[known], minlength=n)
    per_image = ItemFacts(
        known,
        width,
        height,
        phash,
        content,
        np.where(content >= 0, copies[content], 0).astype(np.int32),
        cluster,
        np.where(known, sizes[cluster], 0).astype(np.int32),
    )
    of_item = uids.indices.to_numpy()
    return ItemFacts(*(vector[of_item] for vector in vars(per_image).values()))


def image_numbers(store: Store, dataset: Dataset) -> pa.DictionaryArray:
    """The dataset's items by image: indices into the distinct image uids, in order of first appearance."""
    tables = [pq.read_table(path, columns=["image_uid"], partitioning=None) for path in dataset.items_paths(store)]
    return pc.dictionary_encode(pa.concat_tables(tables)["image_uid"].combine_chunks())


def _codes(statuses: pa.ChunkedArray) -> npt.NDArray[np.int8]:
    """Statuses as positions in STATUSES, from their dictionaries, which are a few words long."""
    parts = []
    for chunk in statuses.chunks:
        meaning = pc.fill_null(pc.index_in(chunk.dictionary, pa.array(STATUSES)), _UNSCORED).to_numpy()
        parts.append(np.append(meaning, _UNSCORED)[pc.fill_null(chunk.indices, -1).to_numpy()].astype(np.int8))
    return np.concatenate(parts)


def _read(path: Path, columns: list[str]) -> pa.Table:
    # Not pq.read_table, which takes three times as long to open a small file.
    with pq.ParquetFile(path, read_dictionary=["status"]) as file:
        return file.read(columns, use_threads=False)


def _each(store: Store, members: Sequence[Member], read: Callable[[Member, Path], T]) -> list[T]:
    """What `read` makes of each member and its hashed file, in the order of the members."""
    paths = store.checked_paths((member.file, member.sha256) for member in members)
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(read, members, paths))
