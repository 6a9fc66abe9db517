"""ψ: how a raw score becomes a number that a formula can use, and what that is fitted on."""

from dataclasses import dataclass

import duckdb

from ranking import duck
from ranking.metrics.base import Normalize

_FIXED_POINT = 2.0**40


@dataclass(frozen=True)
class Scale:
    """A scorer's scores of a dataset's items: extremes, mean and population deviation. All 0 without any score."""

    low: float
    high: float
    mean: float
    deviation: float


def scaled(raw: str, normalize: Normalize, *, low: str, high: str, mean: str, deviation: str) -> str:
    """SQL for ψ of the expression `raw`, s, given expressions for its scale:

      raw       s
      minmax    (s − low) / (high − low); 0.5 if they are equal
      sigmoid   1 / (1 + e^−z), z = (s − mean) / deviation over all items of the dataset; 0.5 without spread
      prompt-z  the same, with the scale of the prompt's items

    Null where s is null.
    """
    if normalize == "raw":
        return f"({raw})"
    fraction = (
        f"(({raw}) - {low}) / ({high} - {low})"
        if normalize == "minmax"
        else f"1 / (1 + exp(({mean} - ({raw})) / {deviation}))"
    )
    # Equal extremes, not a zero deviation, say "no spread": a deviation of equal numbers may round above zero.
    return f"(CASE WHEN ({raw}) IS NULL THEN NULL WHEN {high} > {low} THEN {fraction} ELSE 0.5 END)"


def item_scale(con: duckdb.DuckDBPyConnection, relation: str, scorer: str) -> Scale:
    """The scale of a scorer over the items of `relation` (quoted), each counted once."""
    row = duck.arrow(con, f"SELECT {_SPREAD} FROM ({_items(relation, scorer)})").to_pylist()[0]
    return Scale(**row) if row["low"] is not None else Scale(0.0, 0.0, 0.0, 0.0)


def prompt_scales(relation: str, scorer: str) -> str:
    """A query for the scale of every prompt: prompt_id, low, high, mean, deviation."""
    return f"SELECT prompt_id, {_SPREAD} FROM ({_items(relation, scorer)}) GROUP BY prompt_id"


def _items(relation: str, scorer: str) -> str:
    first, second = duck.identifier(f"{scorer}.0"), duck.identifier(f"{scorer}.1")
    return f"""SELECT DISTINCT * FROM (
        SELECT image_0_uid AS uid, prompt_id, {first}::DOUBLE AS s FROM {relation}
        UNION ALL SELECT image_1_uid, prompt_id, {second}::DOUBLE FROM {relation}
    ) WHERE s IS NOT NULL"""


# Sums of fixed-point numbers: no order of adding changes them, so neither do threads. A deviation from a fixed origin,
# not from the mean, needs one pass; scores are small enough for it.
_FIXED = f"round(s * {_FIXED_POINT})::HUGEINT"
_MEAN = f"(sum({_FIXED})::DOUBLE / {_FIXED_POINT} / count(*))"
_SQUARES = f"(sum(round(s * s * {_FIXED_POINT})::HUGEINT)::DOUBLE / {_FIXED_POINT} / count(*))"
_SPREAD = f"""
    min(s) AS low, max(s) AS high, {_MEAN} AS mean, sqrt(greatest({_SQUARES} - {_MEAN} * {_MEAN}, 0)) AS deviation
"""
