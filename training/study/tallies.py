"""What judges of subsets count: two sums for each prompt, over the pairs that a subset takes. Makes no value of
them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranking import duck
from ranking.datasets import get_dataset
from ranking.features.pairs import PairTable
from ranking.images import Found, ImageError, ImageReader, decode_rgb
from ranking.subsets.catalog import Subset

TALLIES: pa.Schema = pa.schema(
    [
        ("judge", pa.string()),
        ("prompt", pa.string()),  # prompt_id, or the text of an evaluation's prompt
        ("part", pa.float64()),  # such as the labels that are right, or the counts times their logarithms
        ("whole", pa.float64()),  # such as the labels that could be judged
    ]
)
"""One row per judge and prompt, in the order of the judges, then of the prompts."""

_CHUNK = 512


@dataclass(frozen=True)
class Tally:
    """Two sums for each prompt, float64 of equal length; a prompt that is not there has zeros."""

    prompts: tuple[str, ...]
    part: NDArray[np.float64]
    whole: NDArray[np.float64]

    def batch(self, judge: str) -> pa.RecordBatch:
        """As rows of TALLIES."""
        columns = [[judge] * len(self.prompts), list(self.prompts), self.part, self.whole]
        arrays = [pa.array(column, each.type) for column, each in zip(columns, TALLIES, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=TALLIES)


@dataclass(frozen=True)
class Bench:
    """A subset before the judges, with the table it was cut from. `world` is the oracle's opinion of that dataset."""

    table: PairTable
    subset: Subset
    world: World

    @contextmanager
    def connect(self, needed: tuple[str, ...] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with the views `taken` (the subset's pairs) and `wide` (with the fields `needed`)."""
        store = self.table.store
        with self.table.connect() as con:
            path = store.checked_path(self.subset.pairs_key, self.subset.sha256)
            con.execute(f"CREATE VIEW taken AS FROM {duck.parquet_scan([path])}")
            con.execute(f"CREATE VIEW wide AS FROM {self.table.relation(needed)}")
            yield con

    def tally(self, sql: str, needed: tuple[str, ...] = (), utilities: bool = False) -> Tally:
        """The rows (prompt, part, whole) of a query."""
        with self.connect(needed) as con:
            if utilities:
                con.register("utilities", self.world.utilities)
            found = duck.arrow(con, f"FROM ({sql}) ORDER BY prompt")
        part, whole = (found[name].to_numpy().astype(np.float64) for name in ("part", "whole"))
        return Tally(tuple(found["prompt"].to_pylist()), part, whole)


@dataclass(frozen=True)
class World:
    """What Toyworld's oracle says of a dataset's images, looked at once."""

    table: PairTable

    @cached_property
    def utilities(self) -> pa.Table:
        """image_uid, prompt_id, utility (float32, 0 to 1) of every item whose image can be read.

        Raises ValueError for a prompt that is not of this world.
        """
        from training.toyworld.oracle import judge

        dataset = get_dataset(
            self.table.store, self.table.dataset, revision=self.table.snapshot.datasets[self.table.dataset].revision
        )
        with duck.connect() as con:
            items = duck.arrow(con, f"FROM {duck.parquet_scan(dataset.items_paths(self.table.store))}")
        prompts: dict[str, list[tuple[str, str]]] = {}
        for uid, prompt_id, prompt in zip(
            *(items[name].to_pylist() for name in ("image_uid", "prompt_id", "prompt")), strict=True
        ):
            prompts.setdefault(uid, []).append((prompt_id, prompt))
        rows: dict[str, list[object]] = {"image_uid": [], "prompt_id": [], "utility": []}
        coming = ImageReader(self.table.store, dataset).read_each(items)
        while found := list(islice(coming, _CHUNK)):
            for pictures in _by_size(found).values():
                shown = [(uid, *prompt, pixels) for uid, pixels in pictures for prompt in prompts[uid]]
                verdicts = judge(np.stack([each[3] for each in shown]), [each[2] for each in shown])
                rows["image_uid"] += [each[0] for each in shown]
                rows["prompt_id"] += [each[1] for each in shown]
                rows["utility"] += list(verdicts.utility)
        types = (pa.string(), pa.string(), pa.float32())
        return pa.table({name: pa.array(rows[name], kind) for name, kind in zip(rows, types, strict=True)})


def coverage(bench: Bench) -> Tally:
    """1 of 1 for each prompt of the dataset that has a pair in the subset, 0 of 1 for the others."""
    return bench.tally(
        "SELECT prompt_id AS prompt, max((taken.pair_id IS NOT NULL)::INTEGER) AS part, 1 AS whole "
        "FROM wide LEFT JOIN (SELECT pair_id FROM taken) taken USING (pair_id) GROUP BY prompt_id"
    )


def prompt_counts(bench: Bench) -> Tally:
    """n · ln n of n pairs."""
    return bench.tally(
        "SELECT prompt, n * ln(n) AS part, n AS whole "
        "FROM (SELECT prompt_id AS prompt, count(*) AS n FROM taken GROUP BY prompt_id)"
    )


def oracle_labels(bench: Bench) -> Tally:
    """Labels that are right, of the pairs whose utilities differ by at least the oracle's tie margin."""
    from training.toyworld.oracle import TIE_MARGIN

    decided = f"abs(better - worse) >= {TIE_MARGIN}::FLOAT"
    return bench.tally(
        f"SELECT prompt, count(*) FILTER ({decided} AND better > worse) AS part, count(*) FILTER ({decided}) AS whole "
        f"FROM ({_UTILITIES}) GROUP BY prompt",
        utilities=True,
    )


def oracle_gap(bench: Bench) -> Tally:
    """Utility of the winners less that of the losers, of pairs."""
    return bench.tally(
        f"SELECT prompt, sum(better::DOUBLE - worse ORDER BY better, worse) AS part, count(*) AS whole "
        f"FROM ({_UTILITIES}) GROUP BY prompt",
        utilities=True,
    )


def agreement(bench: Bench, scorer: str) -> Tally:
    """Labels whose winner a scorer gives the higher score, of the pairs whose scores differ."""
    first, second = (duck.identifier(f"{scorer}.{side}") for side in (0, 1))
    won = "(winner_uid = image_0_uid)"
    return bench.tally(
        f"""SELECT prompt, count(*) FILTER (CASE WHEN won THEN first > second ELSE second > first END) AS part,
                count(*) FILTER (first <> second) AS whole
            FROM (SELECT wide.prompt_id AS prompt, {won} AS won, {first} AS first, {second} AS second
                FROM taken JOIN wide USING (pair_id))
            GROUP BY prompt"""
    )


def confidence(bench: Bench) -> Tally:
    """The label_confidence of human labels, and one less it where the subset's label is the other."""
    human = "(winner_uid = CASE winner WHEN 0 THEN image_0_uid WHEN 1 THEN image_1_uid END)"
    return bench.tally(
        f"""SELECT wide.prompt_id AS prompt, count(label_confidence) AS whole,
                coalesce(sum(CASE WHEN {human} THEN label_confidence ELSE 1 - label_confidence END ORDER BY pair_id), 0)
                    AS part
            FROM taken JOIN wide USING (pair_id) GROUP BY wide.prompt_id""",
        needed=("label_confidence",),
    )


_UTILITIES = """SELECT taken.prompt_id AS prompt, a.utility AS better, b.utility AS worse
    FROM taken
    JOIN utilities a ON a.image_uid = winner_uid AND a.prompt_id = taken.prompt_id
    JOIN utilities b ON b.image_uid = loser_uid AND b.prompt_id = taken.prompt_id"""


def _by_size(found: list[tuple[str, Found]]) -> dict[tuple[int, ...], list[tuple[str, NDArray[np.uint8]]]]:
    """The images that can be read, decoded, by their shape."""
    groups: dict[tuple[int, ...], list[tuple[str, NDArray[np.uint8]]]] = {}
    for uid, data in found:
        try:
            pixels = np.asarray(decode_rgb(data))
        except ImageError:
            continue
        groups.setdefault(pixels.shape, []).append((uid, pixels))
    return groups
