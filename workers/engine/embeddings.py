"""The embeddings of a slice, gathered while it is scored: float16, one for each distinct image and prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ranking.schema import EMBEDDINGS, MISSING, NON_FINITE, OK
from ranking.store.shards import EMBEDDING_SHARD
from workers.engine.scoring import ScorerError, Vectors

_OFF = 1e-3
"""By how much the length of what a scorer gives may differ from 1 before rounding."""


class Gathered:
    """One embedding of a slice's images and prompts. Rows are positions of items; the first vector of an image or
    prompt counts, and where none came the status of one of its items."""

    def __init__(self, items: pa.Table) -> None:
        """`items` are the slice's (ITEMS schema)."""
        self._keys = EMBEDDING_SHARD.keys(items)
        self._image_of = _places(items["image_uid"])
        self._prompt_of = _places(items["prompt_id"])
        self._images = int(self._image_of.max(initial=-1)) + 1
        self._vectors: npt.NDArray[np.float16] | None = None
        self._status = np.full(self._keys.num_rows, "", dtype=object)

    def add(self, rows: Sequence[int], vectors: Vectors) -> None:
        """What was computed with some items: vectors of shape (len(rows), d), NaN where there is none. ScorerError for
        vectors that are not of length 1 or have another d than before."""
        for places, found in (
            (self._image_of[list(rows)], vectors.image),
            (self._images + self._prompt_of[list(rows)], vectors.prompt),
        ):
            if self._vectors is None:
                self._vectors = np.zeros((self._keys.num_rows, found.shape[1]), np.float16)
            if found.shape[1] != self._vectors.shape[1]:
                raise ScorerError(f"an embedding has {found.shape[1]} dimensions, others {self._vectors.shape[1]}")
            places, first = np.unique(places, return_index=True)
            new = self._status[places] != OK
            places, found = places[new], found[first[new]]
            lengths = np.linalg.norm(found.astype(np.float64), axis=1)
            finite = np.isfinite(lengths)
            if (np.abs(lengths[finite] - 1) > _OFF).any():
                worst = lengths[finite][np.abs(lengths[finite] - 1).argmax()]
                raise ScorerError(f"an embedding has the length {worst:.4f}, not 1")
            self._status[places] = np.where(finite, OK, NON_FINITE)
            self._vectors[places[finite]] = found[finite]

    def fail(self, statuses: Mapping[int, str]) -> None:
        """Items whose picture was not embedded, with the status."""
        for row, status in statuses.items():
            for place in (self._image_of[row], self._images + self._prompt_of[row]):
                if self._status[place] in ("", NON_FINITE):
                    self._status[place] = status

    def table(self) -> pa.Table:
        """What was gathered, in the EMBEDDINGS schema."""
        status = self._status.copy()
        status[status == ""] = MISSING
        good = status == OK
        width = self._vectors.shape[1] if self._vectors is not None else 0
        offsets = pa.array(np.concatenate([[0], np.cumsum(np.where(good, width, 0))]), pa.int32())
        flat = self._vectors[good].ravel() if self._vectors is not None else np.zeros(0, np.float16)
        lists = pa.ListArray.from_arrays(offsets, pa.array(flat, pa.float16()), mask=pa.array(~good))
        columns = [self._keys["kind"], self._keys["key"], lists, pa.array(status, pa.string())]
        return pa.table(columns, schema=EMBEDDINGS)


def _places(keys: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """For each row the place of its key among the distinct ones, in order of first appearance."""
    places: npt.NDArray[np.int64] = pc.index_in(keys.combine_chunks(), pc.unique(keys)).to_numpy().astype(np.int64)
    return places
