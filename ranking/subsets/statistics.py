"""What a dataset and a subset of it look like in numbers, so that one can see what a recipe did. No judgement."""

import math
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq

from ranking import duck
from ranking.features.tallies import moments
from ranking.subsets.selection import Selection

BINS = 20


def stage_counts(selection: Selection) -> dict[str, Any]:
    """What became of the pairs: how many there are (`pairs`), how many are `left` after each stage, `eligible`, wanted
    (`want`) and `taken`; `capped` are those that a cap left out although they are better than the last one taken."""
    return {
        "pairs": selection.table.wide.table.rows,
        "left": selection.left,
        "eligible": selection.eligible,
        "want": selection.want,
        "capped": selection.capped(),
        "taken": selection.taken,
    }


def describe(selection: Selection, pairs: Path) -> dict[str, Any]:
    """Numbers on the dataset ("before") and the subset ("after", whose file is `pairs`), and on the way between them:

      eligible       pairs that pass every stage
      stages         see `stage_counts`
      before, after  pairs, prompts, prompt_clusters, ties, raters (distinct, known ones); effective_prompts:
                     (Σ n)² / Σ n² over the prompts' numbers of pairs, the number of prompts if all had as many;
                     effective_pairs: the same of the pairs' weights; models: how many images each drew, one counted in
                     every pair; gaps and winners: mean of the human winner − loser, and of the winner's score, by
                     scorer; agreement: share of the pairs with a winner and different scores whose label the scorer
                     shares; fields: means of the fields that the recipe names. Null where there is nothing to count.
      diversity      only with it: how the re-ranking went, see `ranking.subsets.diversity`
      coverage       after ÷ before for prompts, prompt clusters, raters and models
      histograms     for each scorer its winners' scores and its gaps, and each field: 21 rising edges, and the counts
                     before and after in the 20 bins between them; a bin has its upper edge, the first its lower too

    Every sum is one of whole numbers, so that no order of adding changes it.
    """
    con = selection.con
    numbers = _numbers(selection)
    texts = [number.sql for number in numbers]
    con.execute(
        f"""CREATE TABLE selection AS SELECT prompt_id, prompt_cluster, rater, model_0, model_1, is_tie,
            {"".join(f"({text}) AS value_{index}, " for index, text in enumerate(texts))} position
            FROM labelled SEMI JOIN taken USING (position)"""
    )
    before = _describe(con, "labelled", numbers, texts)
    after = _describe(con, "selection", numbers, [f"value_{index}" for index in range(len(numbers))])
    mean, deviation = moments(np.asarray(pq.read_table(pairs, columns=["weight"], partitioning=None)["weight"]))
    before["effective_pairs"] = float(before["pairs"])
    after["effective_pairs"] = after["pairs"] * mean**2 / (mean**2 + deviation**2)
    counted = {name: (found.pop("histograms"), found) for name, found in (("before", before), ("after", after))}
    return {
        "eligible": selection.eligible,
        "stages": stage_counts(selection),
        **({"diversity": selection.diversity} if selection.diversity else {}),
        "before": before,
        "after": after,
        "coverage": {
            name: _size(after[name]) / _size(before[name]) if _size(before[name]) else None
            for name in ("prompts", "prompt_clusters", "raters", "models")
        },
        "histograms": [
            {
                "of": number.of,
                "name": number.name,
                "edges": number.edges,
                "before": counted["before"][0][index],
                "after": counted["after"][0][index],
            }
            for index, number in enumerate(numbers)
        ],
    }


class _Number:
    """A number of each pair: what it is `of` (winner, gap or field), whose, its SQL, and the edges of its histogram."""

    def __init__(self, of: str, name: str, sql: str, low: float, high: float) -> None:
        self.of, self.name, self.sql = of, name, sql
        if not low < high:
            low, high = low - max(1.0, abs(low)) / 2, high + max(1.0, abs(high)) / 2
        self.unit = math.ldexp(1.0, 51 - math.frexp(max(abs(low), abs(high), 1e-300))[1])
        width = (high - low) / BINS
        self.edges = [low, *(low + width * index for index in range(1, BINS)), high]


def _numbers(selection: Selection) -> list[_Number]:
    table, found = selection.table, []
    for scorer, tally in table.wide.tallies.items():
        if tally.low is None or tally.high is None:
            continue
        first, second = (duck.identifier(f"{scorer}.{side}") for side in (0, 1))
        winner = f"CASE winner WHEN 0 THEN {first} WHEN 1 THEN {second} END::DOUBLE"
        reach = tally.high - tally.low
        found.append(_Number("winner", scorer, winner, tally.low, tally.high))
        found.append(_Number("gap", scorer, duck.identifier(f"{scorer}.gap"), -reach, reach))
    for name in selection.recipe.fields:
        if table.fields[name].kind == "number":
            value = f"{duck.identifier(name)}::DOUBLE"
            query = f"SELECT min({value}), max({value}) FROM labelled WHERE isfinite({value})"
            ((low, high),) = selection.con.sql(query).fetchall()
            if low is not None:
                found.append(_Number("field", name, f"CASE WHEN isfinite({value}) THEN {value} END", low, high))
    return found


def _describe(
    con: duckdb.DuckDBPyConnection, relation: str, numbers: list[_Number], texts: list[str]
) -> dict[str, Any]:
    columns = ["count(*) AS pairs", "count(*) FILTER (is_tie) AS ties"]
    for index, (number, text) in enumerate(zip(numbers, texts, strict=True)):
        bounds = ", ".join(f"{edge!r}::DOUBLE" for edge in number.edges[1:])
        columns += [
            f"count({text}) AS n_{index}",
            f"sum(round(({text}) * {number.unit!r}::DOUBLE)::BIGINT) AS sum_{index}",
            f"histogram({text}, [{bounds}]) AS bins_{index}",
        ]
        if number.of == "gap":
            columns += [
                f"count(*) FILTER (({text}) > 0) AS up_{index}",
                f"count(*) FILTER (({text}) < 0) AS down_{index}",
            ]
    row = duck.arrow(con, f"SELECT {', '.join(columns)} FROM {relation}").to_pylist()[0]
    prompts, squares = _spread(con, relation, "prompt_id")
    found: dict[str, Any] = {
        "pairs": row["pairs"],
        "prompts": prompts,
        "prompt_clusters": _spread(con, relation, "prompt_cluster")[0],
        "ties": row["ties"],
        "raters": _spread(con, relation, "rater")[0],
        "effective_prompts": row["pairs"] ** 2 / squares if squares else 0.0,
        "models": _models(con, relation),
        "gaps": {},
        "winners": {},
        "agreement": {},
        "fields": {},
        "histograms": [],
    }
    place = {"gap": "gaps", "winner": "winners", "field": "fields"}
    for index, number in enumerate(numbers):
        have = row[f"n_{index}"]
        found[place[number.of]][number.name] = int(row[f"sum_{index}"]) / number.unit / have if have else None
        if number.of == "gap":
            up, told = row[f"up_{index}"], row[f"up_{index}"] + row[f"down_{index}"]
            found["agreement"][number.name] = up / told if told else None
        bins = dict(row[f"bins_{index}"] or ())
        found["histograms"].append([bins.get(edge, 0) for edge in number.edges[1:]])
    return found


def _spread(con: duckdb.DuckDBPyConnection, relation: str, column: str) -> tuple[int, int]:
    """How many different values there are, and the sum of the squares of how often each occurs."""
    query = f"""SELECT count(*), coalesce(sum(n::HUGEINT * n), 0)
                FROM (SELECT count(*) AS n FROM {relation} WHERE {column} IS NOT NULL GROUP BY {column})"""
    ((different, squares),) = con.sql(query).fetchall()
    return int(different), int(squares)


def _models(con: duckdb.DuckDBPyConnection, relation: str) -> dict[str, int]:
    pairs = f"SELECT model_0, model_1, count(*) AS n FROM {relation} GROUP BY model_0, model_1"
    query = f"""SELECT model, sum(n)::BIGINT FROM (
                    SELECT model_0 AS model, n FROM ({pairs}) UNION ALL SELECT model_1, n FROM ({pairs}))
                WHERE model IS NOT NULL GROUP BY model ORDER BY model"""
    return dict(con.sql(query).fetchall())


def _size(value: Any) -> int:
    return len(value) if isinstance(value, dict) else int(value)
