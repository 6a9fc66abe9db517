"""How a dataset's scores and a subset's are distributed, counted side by side in one pass over the wide table. Draws
nothing."""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ranking.features.tallies import Tally

BINS = 20
_THREADS = 2
_BITS = 40  # of a fixed-point number; a row group of them adds up within 63

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass
class Count:
    """Numbers counted so far: how many, their sum in fixed point, those above and below 0, and by bin."""

    n: int = 0
    total: int = 0
    above: int = 0
    below: int = 0
    bins: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, other: "Count") -> None:
        """Add what another one counted."""
        self.n += other.n
        self.total += other.total
        self.above += other.above
        self.below += other.below
        self.bins = self.bins + other.bins


@dataclass
class Distribution:
    """Numbers of a scorer, `of` its winners' scores ("winner") or of winner − loser ("gap") by the human label: counted
    in the dataset (`before`) and the subset (`after`), in 20 equal bins from `low` to `high`."""

    of: str
    name: str
    low: float
    high: float
    before: Count = field(default_factory=Count)
    after: Count = field(default_factory=Count)

    @property
    def edges(self) -> list[float]:
        """21 rising edges of the bins; each bin has its lower edge, the last its upper too."""
        width = (self.high - self.low) / BINS
        return [self.low, *(self.low + width * index for index in range(1, BINS)), self.high]

    def mean(self, count: Count) -> float | None:
        """The mean of what was counted; exact sums, so that no order of adding changes it."""
        return count.total / self._unit / count.n if count.n else None

    @property
    def _unit(self) -> float:
        return math.ldexp(1.0, _BITS - math.frexp(max(abs(self.low), abs(self.high), 1e-300))[1])

    def counted(self, values: Float, known: Bool, taken: Bool) -> tuple[Count, Count]:
        """What some pairs add: all that are `known`, and those of them that are `taken`."""
        place = ((values - self.low) * (BINS / (self.high - self.low))).clip(0, BINS - 1)
        bins = np.where(known, place, 0).astype(np.int8)
        fixed = np.rint(np.where(known, values, 0) * self._unit).astype(np.int64)
        return _count(values, bins, fixed, known), _count(values, bins, fixed, known & taken)


def _count(values: Float, bins: npt.NDArray[np.int8], fixed: npt.NDArray[np.int64], which: Bool) -> Count:
    rows = np.flatnonzero(which)
    chosen = values[rows]
    return Count(
        n=len(rows),
        total=int(fixed[rows].sum()),
        above=int(np.count_nonzero(chosen > 0)),
        below=int(np.count_nonzero(chosen < 0)),
        bins=np.bincount(bins[rows], minlength=BINS),
    )


def distributions(path: Path, tallies: Mapping[str, Tally], taken: Bool) -> list[Distribution]:
    """The scores of the wide table at `path`, and of those of its rows that are `taken`, bool of shape (rows,). Scorers
    without any score are left out."""
    found = [each for name, tally in tallies.items() for each in _both(name, tally)]
    names = dict.fromkeys(each.name for each in found)
    columns = ["winner", *(f"{name}.{side}" for name in names for side in (0, 1))]
    with pq.ParquetFile(path, pre_buffer=False) as file:
        starts = np.cumsum([0, *(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))])

    def one(group: int) -> list[tuple[Count, Count]]:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            table = file.read_row_group(group, columns=columns, use_threads=False)
        return _of_rows(table, found, taken[starts[group] : starts[group + 1]])

    with ThreadPoolExecutor(_THREADS) as pool:
        for counts in pool.map(one, range(len(starts) - 1)):
            for each, (before, after) in zip(found, counts, strict=True):
                each.before.add(before)
                each.after.add(after)
    return found


def _both(name: str, tally: Tally) -> list[Distribution]:
    if tally.low is None or tally.high is None:
        return []
    # A constant gets bins around it.
    spare = 0.0 if tally.low < tally.high else max(1.0, abs(tally.low)) / 2
    reach = tally.high - tally.low + spare
    return [
        Distribution("winner", name, tally.low - spare, tally.high + spare),
        Distribution("gap", name, -reach, reach),
    ]


def _of_rows(table: pa.Table, wanted: list[Distribution], taken: Bool) -> list[tuple[Count, Count]]:
    winner = table["winner"].fill_null(-1).to_numpy()
    counts: list[tuple[Count, Count]] = []
    sides: dict[str, tuple[Float, Float]] = {}
    for each in wanted:
        if each.name not in sides:
            first, second = (_numbers(table[f"{each.name}.{side}"]) for side in (0, 1))
            won = winner == 0
            sides = {each.name: (np.where(won, first, second), np.where(won, second, first))}
        better, worse = sides[each.name]
        values = better if each.of == "winner" else better - worse
        counts.append(each.counted(values, (winner >= 0) & ~np.isnan(values), taken))
    return counts


def _numbers(column: pa.ChunkedArray) -> Float:
    """NaN for null."""
    values: Float = column.to_numpy().astype(np.float64)
    return values
