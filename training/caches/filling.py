"""Fills a shelf with what it lacks. Processes that fill it at once, of one run or of several, take pieces of the work
in turn; what a killed one had finished is kept."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ranking.errors import PairsieveError
from training.caches.claims import claimed
from training.caches.shelf import Keys, Rows, Shelf
from training.progress import Progress, silent

Part = tuple[list[int], Rows]
"""Places among the keys, and the row of each. All rows of a part are of one shape."""

Make = Callable[[list[int]], Iterable[Part]]
"""Called with the places of keys that are missing; gives them part by part, in any order. What it leaves out stays
missing: it cannot be made."""

SHARD_BYTES = 64_000_000
SHARD_SECONDS = 15.0
"""A shard is written when it is as large or as old as this: so much work a kill can cost."""


def fill(
    shelf: Shelf,
    keys: Keys,
    make: Make,
    *,
    piece: int = 1024,
    turn: float = 0.0,
    stage: str = "cache",
    tell: Progress = silent,
) -> npt.NDArray[np.bool_]:
    """Make what is missing of `keys`, which come in the order in which it is made best; returns which are there.

    Keys are taken in pieces of `piece`. Each is made by one process at a time: another that comes by goes on to the
    next piece and looks at this one again at the end. `turn`, in [0, 1), is where on the way round this process begins,
    so that several do not start at one place.
    """
    shelf.drop_damaged(keys)
    starts = list(range(0, len(keys), piece))
    first = int(turn * len(starts))
    counter = _Counter(shelf, keys, stage, tell)
    counter.show()
    for last in (False, True):
        left = []
        for start in starts[first:] + starts[:first]:
            part = keys[start : start + piece]
            if shelf.has(part).all():
                continue
            claim = shelf.folder / "claims" / hashlib.sha256(part.tobytes()).hexdigest()[:24]
            with claimed(claim, wait=last, on_wait=counter.show) as mine:
                if mine:
                    _make_piece(shelf, keys, start, start + len(part), make, counter)
                else:
                    left.append(start)
        starts, first = left, 0
    shelf.refresh()
    return shelf.has(keys)


@dataclass
class _Counter:
    """Tells how many keys are there, of those that others make too."""

    shelf: Shelf
    keys: Keys
    stage: str
    tell: Progress

    def show(self, more: int = 0) -> None:
        if not more:
            self.shelf.refresh()
        self.tell(self.stage, int(self.shelf.has(self.keys).sum()) + more, len(self.keys))


@dataclass
class _Pending:
    """Rows of one shape that are not written yet."""

    keys: list[Keys] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)
    bytes: int = 0
    since: float = field(default_factory=time.monotonic)

    def add(self, keys: Keys, rows: Rows) -> None:
        self.keys.append(keys)
        self.rows.append(rows)
        self.bytes += sum(values.nbytes for values in rows.values())

    @property
    def due(self) -> bool:
        return self.bytes >= SHARD_BYTES or time.monotonic() - self.since > SHARD_SECONDS

    def write(self, shelf: Shelf) -> None:
        rows = {name: np.concatenate([part[name] for part in self.rows]) for name in self.rows[0]}
        shelf.put(np.concatenate(self.keys), rows)


def _make_piece(shelf: Shelf, keys: Keys, start: int, stop: int, make: Make, counter: _Counter) -> None:
    shelf.refresh()  # another process may have made it while this one waited
    missing = (start + np.flatnonzero(~shelf.has(keys[start:stop]))).tolist()
    if not missing:
        return
    pending: dict[tuple[tuple[int, ...], ...], _Pending] = {}
    try:
        for places, rows in _parts(make, missing):
            shapes = tuple(rows[name].shape[1:] for name in sorted(rows))
            pending.setdefault(shapes, _Pending()).add(keys[places], rows)
            counter.show(sum(len(each) for shard in pending.values() for each in shard.keys))
            for shape in [shape for shape, shard in pending.items() if shard.due]:
                pending.pop(shape).write(shelf)
    except BaseException:
        with suppress(PairsieveError):  # a disk that is full, perhaps: the first error is to be told
            for shard in pending.values():
                shard.write(shelf)
        raise
    for shard in pending.values():
        shard.write(shelf)


def _parts(make: Make, missing: list[int]) -> Iterator[Part]:
    for places, rows in make(missing):
        if places:
            yield places, rows
