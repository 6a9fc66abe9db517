"""Column sets that compare an image with the others of its prompt: the scale of a scorer under each prompt, and Pareto
fronts over all scorers. Human labels play no part in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ranking.features.columns import ColumnFamily, ColumnSet
from ranking.features.fields import Field
from ranking.features.pareto import MOST, fronts

if TYPE_CHECKING:
    from ranking.features.pairs import PairTable

SCALE_VERSION: Final = 1
PARETO_VERSION: Final = 1
_BITS = 40  # of a score within the range of all; float32 has 24 in all
_ROWS = 65_536

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Items:
    """The two items of each pair, int64 of shape (pairs,), and the number of the prompt of each item (items,)."""

    first: Int
    second: Int
    prompt: Int

    def scores(self, path: Path, scorer: str) -> npt.NDArray[np.float32]:
        """The score of each item in the wide table at `path`, NaN where there is none."""
        names = [f"{scorer}.0", f"{scorer}.1"]
        with pq.ParquetFile(path) as file:
            sides = file.read(columns=names)
        found = np.full(len(self.prompt), np.nan, np.float32)
        for items, name in zip((self.first, self.second), names, strict=True):
            found[items] = sides[name].to_numpy()
        return found


@lru_cache(maxsize=1)
def _items(path: Path) -> _Items:
    """The items of a wide table, numbered. The file's name is its hash, so what was read once stays true; one table is
    kept, as its scorers are asked for one after the other."""
    names = ["prompt_id", "image_0_uid", "image_1_uid"]
    with pq.ParquetFile(path, read_dictionary=names) as file:
        read = file.read(columns=names)
    prompt = _codes(read["prompt_id"])
    images = _codes(pa.chunked_array([*read["image_0_uid"].chunks, *read["image_1_uid"].chunks]))
    prompts = int(prompt.max(initial=0)) + 1
    keys, of = np.unique(images * prompts + np.tile(prompt, 2), return_inverse=True)
    return _Items(of[: len(prompt)], of[len(prompt) :], keys % prompts)


def _codes(texts: pa.ChunkedArray) -> Int:
    chunks = texts.unify_dictionaries().chunks
    return np.concatenate([np.zeros(0, np.int64), *(chunk.indices.to_numpy() for chunk in chunks)])


def scales(scores: npt.NDArray[np.floating[Any]], prompts: Int, *, count: int) -> tuple[Float, Float]:
    """Mean and population deviation of the scores of each of `count` prompts: two float64 arrays of shape (count,), NaN
    for a prompt without a score. `scores` and `prompts` have shape (items,); NaN is no score.

    A deviation is 0 if and only if all scores of the prompt are the same. Sums are of whole numbers, 2^40 for the range
    of all scores, so that neither the order of items nor the machine changes them.
    """
    mean, deviation = np.full(count, np.nan), np.full(count, np.nan)
    have = np.flatnonzero(~np.isnan(scores))
    if not len(have):
        return mean, deviation
    order = have[np.argsort(prompts[have], kind="stable")]
    values, of = scores[order].astype(np.float64), prompts[order]
    starts = np.flatnonzero(np.concatenate([[True], of[1:] != of[:-1]]))
    sizes = np.diff(np.concatenate([starts, [len(of)]]))
    low, high = values.min(), values.max()
    unit = (high - low) / 2.0**_BITS or 1.0
    sums = np.add.reduceat(np.rint((values - low) / unit).astype(np.int64), starts)
    centre = low + sums / sizes * unit
    away = (values - np.repeat(centre, sizes)) / unit / 2.0**_BITS  # at most 1
    squares = np.add.reduceat(np.rint(away**2 * 2.0**_BITS).astype(np.int64), starts)
    spread = np.sqrt(squares / sizes / 2.0**_BITS) * (high - low)
    least, greatest = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    same = least == greatest
    mean[of[starts]] = np.where(same, least, centre)
    # A spread too small for the grid is still one: half of the way between two scores is what a pair of them has.
    deviation[of[starts]] = np.where(same, 0.0, np.where(spread > 0, spread, (greatest - least) / 2))
    return mean, deviation


def _scale_of(scorer: str) -> ColumnSet:
    fields = (
        Field(
            f"{scorer}.prompt_mean",
            "number",
            f"mean of the scores that {scorer} gives the items of the prompt, each image counted once",
            "scores",
        ),
        Field(
            f"{scorer}.prompt_deviation", "number", "their population deviation; 0 if they are all the same", "scores"
        ),
    )
    schema = pa.schema([(field.name, pa.float64()) for field in fields])

    def build(table: "PairTable") -> Iterator[pa.RecordBatch]:
        items = _items(table.path)
        found = scales(items.scores(table.path, scorer), items.prompt, count=int(items.prompt.max(initial=-1)) + 1)
        of = items.prompt[items.first]
        return _batches(schema, [each[of] for each in found])

    return ColumnSet(f"prompt-scale.{scorer}", SCALE_VERSION, schema, fields, build)


def _scale_sets(scorers: Sequence[str]) -> tuple[ColumnSet, ...]:
    return tuple(_scale_of(scorer) for scorer in scorers)


def _front(side: int) -> Field:
    return Field(
        f"pareto_{side}",
        "number",
        f"Pareto front of image {side} among the prompt's images over all scorers: 1 if no other is at least as good "
        f"by all and better by one; null where a score is missing or the prompt has more than {MOST} images",
        "scores",
    )


_PARETO_SCHEMA: Final = pa.schema([("pareto_0", pa.int32()), ("pareto_1", pa.int32())])


def _build_pareto(table: "PairTable") -> Iterator[pa.RecordBatch]:
    items = _items(table.path)
    scores = np.empty((len(items.prompt), len(table.scorers)), np.float32)
    for index, scorer in enumerate(table.scorers):
        scores[:, index] = items.scores(table.path, scorer)
    found = fronts(scores, items.prompt)
    return _batches(_PARETO_SCHEMA, [found[items.first], found[items.second]], missing=0)


def _batches(
    schema: pa.Schema, columns: Sequence[npt.NDArray[Any]], *, missing: int | None = None
) -> Iterator[pa.RecordBatch]:
    for begin in range(0, len(columns[0]), _ROWS):
        parts = [column[begin : begin + _ROWS] for column in columns]
        nulls = [np.isnan(part) if missing is None else part == missing for part in parts]
        arrays = [pa.array(part, mask=mask) for part, mask in zip(parts, nulls, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


PROMPT_SCALES: Final = ColumnFamily("prompt-scale", SCALE_VERSION, _scale_sets)
PARETO: Final = ColumnSet("pareto", PARETO_VERSION, _PARETO_SCHEMA, (_front(0), _front(1)), _build_pareto)
