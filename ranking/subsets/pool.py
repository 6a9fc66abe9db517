"""A recipe's diversity as tables of its selection: which pairs are looked at, in what order they are taken, and what
that did to one of them. The order itself is `ranking.subsets.diversity`'s."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from ranking import duck
from ranking.features.pairs import PairTable
from ranking.subsets.diversity import Progress, rerank
from ranking.subsets.recipe import Diversity, Recipe


def take_diverse(
    con: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    wanted: Diversity,
    *,
    table: PairTable,
    want: int,
    size: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write `taken` (rank, place, position), the `want` pairs that come first by diversity among the `size` best that
    get past the caps, and `pool`, all of these: place, position, `by_quality` and `by_diversity` (numbers from 1),
    `diversity` and `raw` as in `Reranked`. Gives its report."""
    con.execute(
        f"""CREATE TABLE candidates AS
            SELECT place, position, prompt_id, CASE chosen WHEN 0 THEN image_0_uid ELSE image_1_uid END AS winner_uid
            FROM (SELECT place, position FROM ordered ANTI JOIN refused USING (place) ORDER BY place LIMIT {size})
            JOIN labelled USING (position)"""
    )
    candidates = duck.arrow(con, "FROM candidates ORDER BY place")
    found = rerank(candidates, wanted, table=table, take=want, seed=recipe.seed, progress=progress)
    numbers = np.empty(len(found.order), np.int64)
    numbers[found.order] = np.arange(1, len(found.order) + 1)
    columns = {
        "place": candidates["place"],
        "position": candidates["position"],
        "by_quality": np.arange(1, len(numbers) + 1),
        "by_diversity": numbers,
        "diversity": found.diversity,
        "raw": pa.array(found.raw, from_pandas=True),
    }
    con.register("pool_rows", pa.table(columns))
    con.execute("CREATE TABLE pool AS FROM pool_rows")
    con.unregister("pool_rows")
    con.execute(
        f"CREATE TABLE taken AS SELECT by_diversity AS rank, place, position FROM pool WHERE by_diversity <= {want}"
    )
    return found.report


@dataclass(frozen=True)
class Told:
    """What diversity did to a pair, in words, and what would change it."""

    reason: str
    change: str


def told(con: duckdb.DuckDBPyConnection, wanted: Diversity, *, place: int, want: int) -> Told:
    """What became of the pair at a place, one that gets past the caps."""
    ((size,),) = con.sql("SELECT count(*) FROM pool").fetchall()
    row = con.execute("SELECT by_quality, by_diversity, diversity, raw FROM pool WHERE place = ?", [place]).fetchall()
    if not row:
        return Told(f"diversity looks at the best {size:,} that get past the caps only", "raise diversity.pool")
    by_quality, by_diversity, diversity, raw = row[0]
    taken = by_diversity <= want
    what = "prompt" if wanted.of == "prompt" else "winning image"
    if raw is None:
        why = f"its {what} has no embedding, so it has no diversity"
    elif wanted.method == "knn-entropy":
        place_of = "nearest" if wanted.neighbours == 1 else f"{_ordinal(wanted.neighbours)} nearest"
        far = f"its {place_of} other {what} is {math.exp(raw):.3g} away"
        why = f"{far}, and its diversity is above that of {diversity:.1%} of the pool"
    elif taken:
        why = f"it added {raw:.3%} of coverage when it was chosen"
    else:
        why = f"those chosen leave it {raw:.3%} of coverage to add"
    moved = f"number {by_quality:,} of {size:,} by quality"
    if wanted.method == "knn-entropy" or taken:
        moved += f", {by_diversity:,} with diversity"
    if taken == (by_quality <= want):
        return Told(f"{moved}: {why}", "" if taken else "take more")
    alone = "leaves it out" if taken else "takes it"
    return Told(f"{moved}: {why}", f"lower diversity.weight: at 0, quality alone {alone}")


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
