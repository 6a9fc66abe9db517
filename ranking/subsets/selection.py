"""The stages of a recipe, in their order: what a pair must pass, the ranking of those that do, the caps, and the take.
Writes no file and says nothing to people."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from ranking.errors import UsageError
from ranking.features.pairs import PairTable
from ranking.metrics.frame import Frame
from ranking.query import compile_filter
from ranking.subsets.caps import Limit, limits_of, refuse
from ranking.subsets.diversity import Progress, pool_size
from ranking.subsets.flagged import unflagged
from ranking.subsets.labels import labelled
from ranking.subsets.pool import take_diverse
from ranking.subsets.recipe import Recipe, check_recipe

_SAMPLE = 65_536
_SPARE = 1_000


@dataclass(frozen=True)
class Stage:
    """What a pair must pass by itself: `passes` is a condition over a labelled wide table, in which `metric` is the
    metric's value, with its parameters. What is null does not pass."""

    name: str
    passes: str
    params: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Selection:
    """A recipe carried out, as tables of a connection:

      labelled  a view: the wide table with `position` and what `ranking.subsets.labels` adds
      judged    every pair: position, metric, `fell`: the number, from 1, of the first stage it does not pass, else 0
      ordered   the best of the eligible pairs: place (1 = best), position, pair_id, metric, `group_<i>` per limit
      refused   those of them that a cap leaves out: place, `cap`: the position in `limits`
      taken     the subset: rank (1 = best), place, position
      pool      only with diversity: what `ranking.subsets.pool` looked at

    `left` counts the pairs that pass each stage, `eligible` those that pass all, `want` those to be taken if caps do
    not forbid it, `taken` those that are. `diversity` is the report of the re-ranking, if the recipe asks for one.
    """

    con: duckdb.DuckDBPyConnection
    table: PairTable
    recipe: Recipe
    stages: tuple[Stage, ...]
    left: dict[str, int]
    eligible: int
    want: int
    limits: tuple[Limit, ...]
    taken: int
    diversity: dict[str, Any] | None = None

    @property
    def direction(self) -> str:
        """How metrics are ordered, in SQL."""
        return _direction(self.recipe)

    def extend(self, least: int) -> None:
        """Make `ordered` and `refused` reach the `least` best eligible pairs; what is taken stays."""
        ((have,),) = self.con.sql("SELECT count(*) FROM ordered").fetchall()
        if have < least:
            _order(self.con, self.recipe, self.eligible, need=self.taken, least=least, limits=list(self.limits))

    def capped(self) -> dict[str, int]:
        """How many pairs each cap left out that are better than the last one taken, by the recipe's key."""
        end = "(SELECT max(place) FROM taken)" if self.taken == self.want else "NULL"
        found = self.con.sql(f"SELECT cap, count(*) FROM refused WHERE coalesce(place < {end}, true) GROUP BY cap")
        counts = dict(found.fetchall())
        return {limit.place: counts.get(index, 0) for index, limit in enumerate(self.limits)}


@contextmanager
def selecting(
    table: PairTable,
    recipe: Recipe,
    *,
    least: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Selection]:
    """Carry the recipe out over its dataset's pairs; `ordered` has at least the `least` best eligible pairs. `progress`
    is told of diversity.

    The same pairs come out on any machine and with any number of threads. Raises what `check_recipe` raises, and
    UsageError for soft labels outside 0 … 1 and weights that are not positive.
    """
    check_recipe(recipe, table)
    with table.connect(threads=threads) as con:
        con.execute(f"CREATE VIEW labelled AS {labelled(recipe, table.relation(recipe.fields, position=True))}")
        stages = _stages(recipe, table)
        _judge(con, table, recipe, stages)
        fallen = dict(con.sql("SELECT fell, count(*) FROM judged GROUP BY fell").fetchall())
        left, remaining = {}, sum(fallen.values())
        for number, stage in enumerate(stages, 1):
            remaining -= fallen.get(number, 0)
            left[stage.name] = remaining
        eligible = int(fallen.get(0, 0))
        want = _want(con, recipe, eligible)
        limits = limits_of(recipe, want)
        wanted = recipe.diversity
        need = want if wanted is None else pool_size(wanted, take=want, available=eligible)
        _order(con, recipe, eligible, need=need, least=least, limits=limits)
        report = None
        if wanted is None:
            taken = _take(con, want)
        else:
            report = take_diverse(con, recipe, wanted, table=table, want=want, size=need, progress=progress)
            ((taken,),) = con.sql("SELECT count(*) FROM taken").fetchall()
        yield Selection(con, table, recipe, stages, left, eligible, want, tuple(limits), taken, report)


def _stages(recipe: Recipe, table: PairTable) -> tuple[Stage, ...]:
    stages = []
    if recipe.where is not None:
        condition, params = compile_filter(recipe.where, table.fields)
        stages.append(Stage("where", condition, tuple(params)))
    marks = unflagged(recipe)
    if marks is not None:
        stages.append(Stage("flags", marks))
    if recipe.near_duplicates and recipe.near_duplicates.distance is not None:
        far = f"phash_distance IS NULL OR phash_distance >= {recipe.near_duplicates.distance}"
        stages.append(Stage("near_duplicates.distance", far))
    stages.append(Stage("labels", "chosen IS NOT NULL"))
    if recipe.weights is not None:
        stages.append(Stage("weights", "weight IS NOT NULL"))
    stages.append(Stage("metric", "metric IS NOT NULL"))
    return tuple(stages)


def _judge(con: duckdb.DuckDBPyConnection, table: PairTable, recipe: Recipe, stages: tuple[Stage, ...]) -> None:
    """One pass over every pair: its metric, and the first stage that leaves it out."""
    frame = Frame(con, "labelled", winner="chosen", seed=recipe.seed, table=table)
    metric = recipe.metric.expression(frame)
    fell = " ".join(
        f"WHEN NOT coalesce(({stage.passes}), false) THEN {number}" for number, stage in enumerate(stages, 1)
    )
    con.execute(
        f"""CREATE TABLE judged AS SELECT position, metric, (CASE {fell} ELSE 0 END)::TINYINT AS fell
            FROM (SELECT pairs.*, CASE WHEN isfinite({metric}) THEN {metric} END AS metric {frame.source()})""",
        [value for stage in stages for value in stage.params],
    )
    if recipe.label_source.startswith("soft:"):
        bad = con.sql(
            "SELECT count(*) FROM judged JOIN labelled USING (position) WHERE fell = 0 AND NOT preference <= 1"
        ).fetchall()[0][0]
        if bad:
            raise UsageError(
                f"labels.soft: {recipe.label_source[5:]} is no probability, {bad:,} pairs have it outside 0 to 1",
                code="bad-recipe",
                hint="name a field between 0 and 1, or filter those out with `where`",
            )


def _want(con: duckdb.DuckDBPyConnection, recipe: Recipe, eligible: int) -> int:
    """How many pairs to take where no cap forbids it."""
    if recipe.take.threshold is None:
        return min(recipe.take.most(eligible), eligible)
    reached = f"metric {'>=' if recipe.take.end == 'top' else '<='} ?"
    found = con.execute(f"SELECT count(*) FROM judged WHERE fell = 0 AND {reached}", [recipe.take.threshold])
    return int(found.fetchall()[0][0])


def _order(
    con: duckdb.DuckDBPyConnection, recipe: Recipe, eligible: int, *, need: int, least: int, limits: list[Limit]
) -> None:
    """Write `ordered` and `refused`. Only as many of the best pairs are put in order as it takes for `need` of them to
    get past the caps: what becomes of a pair depends on better ones only."""
    guess = max(need + (need // 2 if limits else need // 16), least) + _SPARE
    while True:
        bound = _bound(con, recipe, guess, eligible)
        _write_ordered(con, recipe, limits, bound)
        refuse(con, limits)
        ((found, out),) = con.sql("SELECT (SELECT count(*) FROM ordered), (SELECT count(*) FROM refused)").fetchall()
        if found == eligible or (found >= least and found - out >= need):
            return
        guess *= 4


def _bound(con: duckdb.DuckDBPyConnection, recipe: Recipe, guess: int, eligible: int) -> float | None:
    """A metric that about `guess` eligible pairs reach, by a sample; None for all. Decides speed, never the outcome."""
    if guess * 1.25 >= eligible:
        return None
    stride = max(1, eligible // _SAMPLE)
    sample = f"SELECT metric FROM judged WHERE fell = 0 AND position % {stride} = 0"
    values = np.sort(con.sql(sample).fetchnumpy()["metric"])
    place = int(len(values) * guess / eligible)
    if not 0 < place < len(values):
        return None
    return float(values[-place] if recipe.take.end == "top" else values[place - 1])


def _write_ordered(con: duckdb.DuckDBPyConnection, recipe: Recipe, limits: list[Limit], bound: float | None) -> None:
    reached = "" if bound is None else f"AND metric {'>=' if recipe.take.end == 'top' else '<='} {bound!r}::DOUBLE"
    groups = "".join(f", {limit.key} AS group_{index}" for index, limit in enumerate(limits))
    con.execute(
        f"""CREATE OR REPLACE TABLE ordered AS
            SELECT row_number() OVER (ORDER BY metric {_direction(recipe)}, pair_id) AS place, * FROM (
                SELECT position, metric, pair_id{groups} FROM judged JOIN labelled USING (position)
                WHERE fell = 0 {reached})"""
    )


def _take(con: duckdb.DuckDBPyConnection, want: int) -> int:
    """Write `taken`."""
    return int(
        con.execute(
            f"""CREATE TABLE taken AS
                SELECT row_number() OVER (ORDER BY place) AS rank, place, position
                FROM (SELECT place, position FROM ordered ANTI JOIN refused USING (place) ORDER BY place LIMIT {want})
            """
        ).fetchall()[0][0]
    )


def _direction(recipe: Recipe) -> str:
    return "DESC" if recipe.take.end == "top" else "ASC"
