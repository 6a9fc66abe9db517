"""What a dataset and a subset of it look like in numbers, so that one can see what a recipe did. No
judgement.
"""

from collections.abc import Iterable
from typing import Any

import duckdb

from ranking import duck


def describe(con: duckdb.DuckDBPyConnection, relation: str, scorers: Iterable[str]) -> dict[str, Any]:
    """Numbers on `relation`, a wide table or a view of one.

    pairs, prompts, ties, raters (distinct); models: how many images each drew, an image counted in every
    pair; gaps: mean of "s.gap" per scorer; agreement: share of the non-tied pairs with a gap other than zero
    whose gap is positive, i.e. whose human label the scorer shares. Null where there is nothing to take a
    mean of.
    """
    table = duck.identifier(relation)
    columns = [
        "count(*) AS pairs",
        "count(DISTINCT prompt_id) AS prompts",
        "count(*) FILTER (is_tie) AS ties",
        "count(DISTINCT rater) AS raters",
    ]
    names = list(scorers)
    for index, name in enumerate(names):
        gap = duck.identifier(f"{name}.gap")
        columns.append(f"avg({gap}) AS gap_{index}")
        columns.append(f"avg(({gap} > 0)::INTEGER) FILTER ({gap} <> 0) AS agreement_{index}")
    row = duck.arrow(con, f"SELECT {', '.join(columns)} FROM {table}").to_pylist()[0]
    models = duck.arrow(
        con,
        f"SELECT model, count(*) AS images FROM (SELECT unnest([model_0, model_1]) AS model FROM {table}) "
        "WHERE model IS NOT NULL GROUP BY model ORDER BY model",
    )
    return {
        "pairs": row["pairs"],
        "prompts": row["prompts"],
        "ties": row["ties"],
        "raters": row["raters"],
        "models": dict(zip(models["model"].to_pylist(), models["images"].to_pylist(), strict=True)),
        "gaps": {name: row[f"gap_{index}"] for index, name in enumerate(names)},
        "agreement": {name: row[f"agreement_{index}"] for index, name in enumerate(names)},
    }
