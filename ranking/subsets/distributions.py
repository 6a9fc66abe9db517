"""How a dataset's scores and a subset's are distributed: counted over the same bins, in exact sums. Draws nothing."""

import math
from collections.abc import Iterable, Mapping, Sequence
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
    """Numbers of a scorer, `of` its winners' scores ("winner") or of winner − loser ("gap") by the human label, or of a
    field ("field"): counted in the dataset (`before`) and the subset (`after`), in 20 equal bins from `low` to
    `high`."""

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

    def counted(self, values: Float, known: Bool) -> Count:
        """What the pairs that are `known` add."""
        chosen = values[np.flatnonzero(known)]
        place = ((chosen - self.low) * (BINS / (self.high - self.low))).clip(0, BINS - 1)
        return Count(
            n=len(chosen),
            total=int(np.rint(chosen * self._unit).astype(np.int64).sum()),
            above=int(np.count_nonzero(chosen > 0)),
            below=int(np.count_nonzero(chosen < 0)),
            bins=np.bincount(place.astype(np.int8), minlength=BINS),
        )


def of_scorers(tallies: Mapping[str, Tally]) -> list[Distribution]:
    """Where the scores of these scorers are to be counted. Scorers without any score are left out."""
    return [each for name, tally in tallies.items() for each in _both(name, tally)]


def columns_of(found: Sequence[Distribution]) -> list[str]:
    """The columns of a wide table that counting takes."""
    names = dict.fromkeys(each.name for each in found)
    return ["winner", *(f"{name}.{side}" for name in names for side in (0, 1))]


def count_all(path: Path, found: Sequence[Distribution]) -> None:
    """Count every row of the wide table at `path` as `before`."""
    columns = columns_of(found)
    with pq.ParquetFile(path, pre_buffer=False) as file:
        groups = file.num_row_groups

    def one(group: int) -> list[Count]:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            return _of_rows(file.read_row_group(group, columns=columns, use_threads=False), found)

    with ThreadPoolExecutor(_THREADS) as pool:
        for counts in pool.map(one, range(groups)):
            for each, count in zip(found, counts, strict=True):
                each.before.add(count)


def count_taken(batches: Iterable[pa.RecordBatch], found: Sequence[Distribution]) -> None:
    """Count rows with the columns of `columns_of`, at most 2^22 in a batch, as `after`."""
    for batch in batches:
        for each, count in zip(found, _of_rows(batch, found), strict=True):
            each.after.add(count)


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


def _of_rows(rows: pa.Table | pa.RecordBatch, wanted: Sequence[Distribution]) -> list[Count]:
    winner = rows["winner"].fill_null(-1).to_numpy(zero_copy_only=False)
    won = winner == 0
    counts: list[Count] = []
    sides: dict[str, tuple[Float, Float]] = {}
    for each in wanted:
        if each.name not in sides:
            first, second = (_numbers(rows[f"{each.name}.{side}"]) for side in (0, 1))
            sides = {each.name: (np.where(won, first, second), np.where(won, second, first))}
        better, worse = sides[each.name]
        values = better if each.of == "winner" else better - worse
        counts.append(each.counted(values, (winner >= 0) & ~np.isnan(values)))
    return counts


def _numbers(column: pa.ChunkedArray | pa.Array) -> Float:
    """NaN for null."""
    values: Float = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return values
