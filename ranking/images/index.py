"""Finds one image among millions without reading all of them again: a dataset's uids as sorted hashes in memory. For
processes that live long and are asked for single images; others ask ImageReader.places."""

import threading
from bisect import bisect_right

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ranking import duck, schema
from ranking.datasets import Dataset
from ranking.images.reader import POINTER
from ranking.store.blobs import Store

_ROWS = 500_000


class ImageIndex:
    """Where each image of a dataset lies and which units show it. Takes 12 bytes an item, and is built in a second
    for two million. May be used by several threads."""

    def __init__(self, store: Store, dataset: Dataset) -> None:
        self._store = store
        self._files = [file.file for file in dataset.items_files]
        self._starts = [0]
        # Hashes are compared within this process only: another version of DuckDB may hash in another way.
        self._con = duck.connect(threads=1)
        self._lock = threading.Lock()
        hashes: list[npt.NDArray[np.uint64]] = []
        for file in self._files:
            with pq.ParquetFile(store.local(file), page_checksum_verification=True) as items:
                for batch in items.iter_batches(_ROWS, columns=["image_uid"]):
                    hashes.append(self._hash(batch["image_uid"]))
                self._starts.append(self._starts[-1] + items.metadata.num_rows)
        joined = np.concatenate([np.empty(0, np.uint64), *hashes])
        order = np.argsort(joined, kind="stable")
        self._hashes = joined[order]
        self._places = order.astype(np.uint32 if len(order) < 2**32 else np.int64)
        starts = dict(zip(self._files, self._starts, strict=False))
        pieces = sorted((starts[piece.file] + piece.start, piece.unit) for piece in dataset.slices)
        self._piece_starts = [start for start, _ in pieces]
        self._units = [unit for _, unit in pieces]

    def units(self, uid: str) -> list[str]:
        """The units whose items show an image, the first to show it first. Where the dataset does not have it, this is
        empty, or once in a great many times a unit of another image."""
        found = (bisect_right(self._piece_starts, place) - 1 for place in self._candidates(uid))
        return list(dict.fromkeys(self._units[at] for at in found if at >= 0))

    def place(self, uid: str) -> pa.Table:
        """Where an image lies: the columns POINTER, a row for each of its items; no row for an unknown uid."""
        rows = [self._row(place) for place in self._candidates(uid)]
        known = [row for row in rows if row["image_uid"][0].as_py() == uid]
        return pa.concat_tables(known) if known else schema.ITEMS.empty_table().select(POINTER)

    def _candidates(self, uid: str) -> list[int]:
        wanted = self._hash(pa.array([uid]))[0]
        first, last = np.searchsorted(self._hashes, wanted), np.searchsorted(self._hashes, wanted, side="right")
        return [int(place) for place in self._places[first:last]]

    def _hash(self, uids: pa.Array) -> npt.NDArray[np.uint64]:
        with self._lock:
            self._con.register("uids", pa.table({"uid": uids}))
            hashes: npt.NDArray[np.uint64] = duck.arrow(self._con, "SELECT hash(uid) AS hash FROM uids")[
                "hash"
            ].to_numpy()
            return hashes

    def _row(self, place: int) -> pa.Table:
        number = bisect_right(self._starts, place) - 1
        row = place - self._starts[number]
        with pq.ParquetFile(self._store.local(self._files[number]), page_checksum_verification=True) as file:
            for group in range(file.metadata.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                if row < size:
                    return file.read_row_group(group, columns=list(POINTER)).slice(row, 1).select(list(POINTER))
                row -= size
        raise IndexError(f"{self._files[number]} has no item {place}")
