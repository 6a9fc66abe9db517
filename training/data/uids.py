"""Finds strings among millions of distinct ones in 12 bytes each: where an image of some uid stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_PIECE = 1 << 16


class Places:
    """The places of distinct `names` among themselves. Hashes are of this process, so it cannot be pickled."""

    def __init__(self, names: pa.Array) -> None:
        self.names = names
        hashes = np.empty(len(names), np.int64)
        for start in range(0, len(names), _PIECE):
            piece = names.slice(start, _PIECE).to_pylist()
            hashes[start : start + len(piece)] = np.fromiter(map(hash, piece), np.int64, len(piece))
        self._order = np.argsort(hashes, kind="stable").astype(np.int32)
        self._sorted = hashes[self._order]

    def __len__(self) -> int:
        return len(self.names)

    def of(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Where each stands; −1 for one that is not there."""
        hashes = np.fromiter(map(hash, names), np.int64, len(names))
        first, end = np.searchsorted(self._sorted, hashes), np.searchsorted(self._sorted, hashes, side="right")
        found = np.full(len(names), -1, np.int64)
        for i, name in enumerate(names):
            for at in range(first[i], end[i]):
                if self.names[int(self._order[at])].as_py() == name:
                    found[i] = self._order[at]
        return found
