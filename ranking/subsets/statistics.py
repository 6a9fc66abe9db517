"""What a dataset and a subset of it look like in numbers, so that one can see what a recipe did. No judgement."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ranking import duck
from ranking.features.tallies import moments
from ranking.subsets.census import census, sizes
from ranking.subsets.distributions import Count, Distribution, columns_of, count_taken
from ranking.subsets.selection import Selection

_BATCH = 65_536


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
                     before and after in the 20 bins between them; a bin has its lower edge, the last its upper too

    Every sum is one of whole numbers, so that no order of adding changes it.
    """
    con = selection.con
    counted, spread = census(selection.table, con)
    scores = ", ".join(map(duck.identifier, columns_of(spread)))
    con.execute(
        f"""CREATE TABLE selection AS SELECT prompt_id, prompt_cluster, rater, model_0, model_1, is_tie, {scores}
            FROM labelled SEMI JOIN taken USING (position)"""
    )
    count_taken(con.sql(f"SELECT {scores} FROM selection").to_arrow_reader(_BATCH), spread)
    spread += _fields(selection)
    before = counted | _means(spread, "before")
    after = sizes(con, "selection") | _means(spread, "after")
    mean, deviation = moments(np.asarray(pq.read_table(pairs, columns=["weight"], partitioning=None)["weight"]))
    before["effective_pairs"] = float(before["pairs"])
    after["effective_pairs"] = after["pairs"] * mean**2 / (mean**2 + deviation**2)
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
                "of": each.of,
                "name": each.name,
                "edges": each.edges,
                "before": each.before.bins.tolist(),
                "after": each.after.bins.tolist(),
            }
            for each in spread
        ],
    }


def _fields(selection: Selection) -> list[Distribution]:
    """The distributions of the numbers that the recipe names."""
    con = selection.con
    # Few recipes name any, and the whole table is looked through only for them.
    names = [name for name in selection.recipe.fields if selection.table.fields[name].kind == "number"]
    if not names:
        return []
    taken = np.zeros(selection.table.wide.table.rows, bool)
    taken[con.sql("SELECT position FROM taken").fetchnumpy()["position"]] = True
    values = [
        f"CASE WHEN isfinite({each}) THEN {each} END" for each in (f"{duck.identifier(n)}::DOUBLE" for n in names)
    ]
    ends = con.sql(f"SELECT {', '.join(f'min({each}), max({each})' for each in values)} FROM labelled").fetchall()[0]
    found = {}
    for index, name in enumerate(names):
        low, high = ends[2 * index : 2 * index + 2]
        if low is not None:
            spare = 0.0 if low < high else max(1.0, abs(low)) / 2
            found[index] = Distribution("field", name, low - spare, high + spare)
    rows = con.sql(f"SELECT position, {', '.join(values)} FROM labelled").to_arrow_reader(_BATCH)
    for batch in rows:
        among = taken[batch.column(0).to_numpy()]
        for index, each in found.items():
            numbers = batch.column(1 + index).to_numpy(zero_copy_only=False)
            known = ~np.isnan(numbers)
            each.before.add(each.counted(numbers, known))
            each.after.add(each.counted(numbers, known & among))
    return list(found.values())


def _means(spread: list[Distribution], when: str) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {"gaps": {}, "winners": {}, "agreement": {}, "fields": {}}
    place = {"gap": "gaps", "winner": "winners", "field": "fields"}
    for each in spread:
        count: Count = each.before if when == "before" else each.after
        found[place[each.of]][each.name] = each.mean(count)
        if each.of == "gap":
            told = count.above + count.below
            found["agreement"][each.name] = count.above / told if told else None
    return found


def _size(value: Any) -> int:
    return len(value) if isinstance(value, dict) else int(value)
