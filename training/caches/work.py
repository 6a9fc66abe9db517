"""What a cache lacks for a run: how much that is, how long it takes, and the making of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.caches.filling import Make, fill
from training.caches.places import check_room, readable
from training.caches.shelf import Keys, Shelf
from training.denormals import denormals_flushed
from training.progress import Progress, roughly, silent

_WARM_UP = 32
_WORTH_TIMING = 8 * _WARM_UP
_ROW_EXTRA = 20  # bytes of a row's key and checksum


@dataclass(frozen=True)
class Estimate:
    """What a cache costs: of `rows` it needs, `missing` are to be made, which takes `bytes` more on disk and about
    `seconds` on this machine, if that was measured (None otherwise)."""

    kind: str
    what: str
    rows: int
    missing: int
    bytes: int
    seconds: float | None

    def __str__(self) -> str:
        """A sentence for people."""
        if not self.missing:
            return f"All {self.rows:,} {self.what} are kept since before."
        takes = "" if self.seconds is None else f", about {roughly(self.seconds)}"
        return f"Of {self.rows:,} {self.what}, {self.missing:,} are to be made: {readable(self.bytes)} on disk{takes}."


@dataclass(frozen=True)
class Work:
    """Rows that a run needs: their `keys` in the order in which they are made best, how they are made, and the bytes of
    each. `what` and the `switch` that does without them are for people; `piece` keys are made by one process at a
    time."""

    what: str
    switch: str
    shelf: Shelf
    keys: Keys
    make: Make
    row_bytes: npt.NDArray[np.int64]
    piece: int = 1024

    def estimate(self, *, warm_up: bool = True) -> Estimate:
        """What there is to do. The warm-up makes the first few rows twice and times the second time, as kernels are
        chosen in the first; not where there are so few that they are soon done. They are kept. PairsieveError where
        they cannot be made, or written."""
        self.shelf.refresh()
        missing = np.flatnonzero(~self.shelf.has(self.keys))
        seconds = None
        if not len(missing):
            seconds = 0.0
        elif warm_up and len(missing) >= _WORTH_TIMING:
            first = missing[:_WARM_UP].tolist()
            self._make(first)
            seconds = self._make(first) / len(first) * len(missing)
        return Estimate(
            self.shelf.identity.kind, self.what, len(self.keys), len(missing), self._bytes(missing), seconds
        )

    def check(self) -> None:
        """PairsieveError where the disk has no room for what is missing."""
        missing = np.flatnonzero(~self.shelf.has(self.keys))
        check_room(f"{self.what} ({len(missing):,})", self._bytes(missing), switch=self.switch)

    def fill(self, *, tell: Progress = silent, turn: float = 0.0) -> npt.NDArray[np.bool_]:
        """Make what is missing, after a look at the room for it; returns which keys have a row then. The others cannot
        be made."""
        self.check()
        stage = self.shelf.identity.kind
        with denormals_flushed():  # as in training, where what is not kept is computed
            return fill(self.shelf, self.keys, self.make, piece=self.piece, turn=turn, stage=stage, tell=tell)

    def _bytes(self, missing: npt.NDArray[np.int64]) -> int:
        return int(self.row_bytes[missing].sum()) + _ROW_EXTRA * len(missing)

    def _make(self, places: list[int]) -> float:
        started = time.monotonic()
        with denormals_flushed():
            for part, rows in self.make(places):
                if part:
                    self.shelf.put(self.keys[part], rows)
        return time.monotonic() - started
