"""ψ: how a raw score becomes a number that a formula can use, and what that is fitted on."""

from collections.abc import Iterable
from dataclasses import dataclass

from ranking import duck
from ranking.metrics.base import Normalize
from ranking.metrics.elementary import logistic
from ranking.metrics.exact import Grid, bits_for, number


@dataclass(frozen=True)
class Scale:
    """A scorer's scores of a dataset's items: extremes, mean and population deviation. All 0 without any score."""

    low: float
    high: float
    mean: float
    deviation: float


def scaled(raw: str, normalize: Normalize, scale: Scale) -> str:
    """SQL for ψ of the expression `raw`, s, on the scale of all items of the dataset:

      raw       s
      minmax    (s − low) / (high − low); 0.5 if they are equal
      sigmoid   1 / (1 + e^−z), z = (s − mean) / deviation; 0.5 without spread

    Null where s is null.
    """
    if normalize == "raw":
        return raw
    if not scale.high > scale.low:
        return f"(CASE WHEN {raw} IS NOT NULL THEN 0.5::DOUBLE END)"
    if normalize == "minmax":
        return f"(({raw} - {number(scale.low)}) / {number(scale.high - scale.low)})"
    return logistic(f"({raw} - {number(scale.mean)}) / {number(scale.deviation)}")


def scaled_in_prompt(raw: str, *, mean: str, deviation: str) -> str:
    """SQL for ψ = 1 / (1 + e^−z) of the expression `raw` where z takes mean and deviation, expressions, of the items of
    its prompt; 0.5 without spread, null where `raw` is null."""
    value = logistic(f"({raw} - {mean}) / {deviation}")
    return f"(CASE WHEN {deviation} > 0 THEN {value} WHEN {raw} IS NOT NULL THEN 0.5 END)"


def extremes(relation: str, scorer: str) -> str:
    """A query for n, low and high of the scores on both sides of every pair, the latter 0 without any."""
    first, second = _sides(scorer)
    return f"""SELECT count({first}) + count({second}) AS n,
        coalesce(least(min({first}), min({second})), 0)::DOUBLE AS low,
        coalesce(greatest(max({first}), max({second})), 0)::DOUBLE AS high
        FROM {relation}"""


def items(relation: str, scorers: Iterable[str]) -> str:
    """A query for the items of a relation of pairs, each once: prompt_id, uid, and "<scorer>.score" of each scorer."""
    named = list(scorers)
    sides = []
    for side in (0, 1):
        scores = "".join(f", {_sides(name)[side]} AS {duck.identifier(f'{name}.score')}" for name in named)
        sides.append(f"SELECT prompt_id, image_{side}_uid AS uid{scores} FROM {relation}")
    return f"SELECT DISTINCT * FROM ({' UNION ALL '.join(sides)})"


def prompt_scales(items: str, ranges: dict[str, tuple[float, float]], *, n: int) -> str:
    """A query for the scale of every prompt: prompt_id, and of each scorer "<scorer>.mean" and "<scorer>.deviation",
    which is 0 without spread. `items` is a table of at most `n` items, `ranges` the scorers' extremes over all."""
    fixed, columns = [], []
    for name, (low, high) in ranges.items():
        # All of it is whole numbers until the last division, so equal scores have no spread to the last bit.
        grid = Grid.over(low, high, bits=bits_for(n, squared=2))
        score, place, mean, deviation = (
            duck.identifier(f"{name}.{part}") for part in ("score", "place", "mean", "deviation")
        )
        step = number(grid.width(1.0))
        fixed.append(f"{grid.places(f'{score}::DOUBLE')} AS {place}")
        count, total, squares = f"count({place})", f"sum({place})", f"sum({place}::HUGEINT * {place})"
        columns.append(f"{number(low)} + {total}::DOUBLE / {count} * {step} AS {mean}")
        columns.append(f"sqrt(({count} * {squares} - {total} * {total})::DOUBLE) / {count} * {step} AS {deviation}")
    return f"""SELECT prompt_id, {", ".join(columns)}
        FROM (SELECT prompt_id, {", ".join(fixed)} FROM {items}) GROUP BY prompt_id"""


def _sides(scorer: str) -> tuple[str, str]:
    return duck.identifier(f"{scorer}.0"), duck.identifier(f"{scorer}.1")
