"""Caps on how many pairs of one group are taken: which a recipe asks for, and who gets in. Knows no metric."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ranking.subsets.recipe import Cap, Recipe

_BLOCK = 262_144

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Limit:
    """At most `most` pairs of one group. `key` is SQL for the group over a labelled wide table, null where it is
    unknown, which is not capped; `place` is the key of the recipe, `group` says in words what is full."""

    place: str
    key: str
    most: int
    group: str


def limits_of(recipe: Recipe, want: int) -> list[Limit]:
    """The recipe's caps, shares being of the `want` pairs to be taken. A pair that meets several full groups is said to
    meet the first of this order; who gets in does not depend on it."""
    found: list[Limit] = []

    def add(place: str, key: str, cap: Cap | int | None, group: str) -> None:
        if isinstance(cap, int):
            found.append(Limit(place, key, cap, group))
        elif cap is not None and cap.max is not None:
            found.append(Limit(f"{place}.max", key, cap.max, group))
        elif cap is not None:
            found.append(Limit(f"{place}.share", key, _share(cap, want), group))

    near, balance = recipe.near_duplicates, recipe.balance
    if near:
        add("near_duplicates.images", _LOOKALIKES, near.images, "pair of look-alike images")
    add("per_prompt", "prompt_id", recipe.per_prompt, "prompt")
    if near:
        add("near_duplicates.prompts", "prompt_cluster", near.prompts, "cluster of near-duplicate prompts")
    if balance:
        add("balance.rater", "rater", balance.rater, "rater")
        add("balance.winner_model", _WINNER_MODEL, balance.winner_model, "winner's model")
        add("balance.models", _MODELS, balance.models, "pair of models")
    return found


_WINNER_MODEL = "CASE chosen WHEN 0 THEN model_0 WHEN 1 THEN model_1 END"
_MODELS = """CASE WHEN model_0 IS NOT NULL AND model_1 IS NOT NULL
    THEN [least(model_0, model_1), greatest(model_0, model_1)] END"""
_LOOKALIKES = """CASE WHEN image_cluster_0 IS NOT NULL AND image_cluster_1 IS NOT NULL
    THEN [prompt_id, least(image_cluster_0, image_cluster_1)::VARCHAR,
          greatest(image_cluster_0, image_cluster_1)::VARCHAR] END"""


def _share(cap: Cap, want: int) -> int:
    exact = Decimal(str(cap.share)) * want
    return max(1, int(exact.to_integral_value(ROUND_CEILING)))


def refuse(con: duckdb.DuckDBPyConnection, limits: Sequence[Limit]) -> None:
    """Write the table `refused` (place, cap) of `con`: the rows of its table `ordered` that are not let in, and the
    position in `limits` of the first full group that each met.

    `ordered` has `place`, 1 for the best, and `group_<i>` for each limit. Pairs are let in greedily: best first, each
    unless one of its groups is full of pairs that were let in before it. So nothing is left out that would fit, and the
    order of the limits decides nothing.
    """
    con.execute("CREATE OR REPLACE TABLE refused (place BIGINT, cap TINYINT)")
    joins, columns, most = [], [], []
    for index, limit in enumerate(limits):
        # Only groups that may become full are looked at; most are too small.
        (groups,) = con.execute(
            f"""CREATE OR REPLACE TABLE full_{index} AS SELECT group_{index} AS key, row_number() OVER () - 1 AS code
                FROM ordered WHERE key IS NOT NULL GROUP BY key HAVING count(*) > {limit.most}"""
        ).fetchall()[0]
        if groups:
            joins.append(f"LEFT JOIN full_{index} ON full_{index}.key = group_{index}")
            columns.append(f"coalesce(full_{index}.code, -1)")
            most.append((index, limit.most, int(groups)))
    if not most:
        return
    known = " OR ".join(f"{column} >= 0" for column in columns)
    query = f"SELECT place, {', '.join(columns)} FROM ordered {' '.join(joins)} WHERE {known} ORDER BY place"
    rows = con.sql(query).to_arrow_reader(_BLOCK)
    used = [np.zeros(groups, np.int64) for _, _, groups in most]
    schema = pa.schema([("place", pa.int64()), ("cap", pa.int8())])
    numbers = np.array([index for index, _, _ in most], np.int8)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            codes = [batch.column(1 + i).to_numpy() for i in range(len(most))]
            by = admit(codes, [cap for _, cap, _ in most], used)
            out = by >= 0
            places: Places = batch.column(0).to_numpy()
            yield pa.RecordBatch.from_arrays([pa.array(places[out]), pa.array(numbers[by[out]])], schema=schema)

    found = pa.Table.from_batches(batches(), schema=schema)
    con.register("refused_rows", found)
    con.execute("INSERT INTO refused FROM refused_rows")
    con.unregister("refused_rows")


def admit(codes: Sequence[Places], most: Sequence[int], used: Sequence[Places]) -> npt.NDArray[np.int8]:
    """Who of n pairs, best first, gets in: −1, or the position of the first limit that refuses the pair.

    `codes[i]`, of shape (n,), is the pair's group under limit i, −1 for none; `used[i][group]` counts the pairs that
    were let in before, and is brought up to date.

    What walking through the pairs would give is found in rounds over all of them at once: a pair is in when its groups
    have room even if every undecided better pair gets in, and out when one is full of pairs that are in. The best
    undecided pair is decided in each round; with groups in no order that holds for most, so rounds are few.
    """
    out_of = np.zeros(len(codes[0]), bool)
    # Of the undecided: their rows, and for each limit their groups and how many better pairs are in already.
    rows = np.arange(len(out_of))
    groups = [np.asarray(code) for code in codes]
    inside = [np.where(code >= 0, counts[code], 0) for code, counts in zip(groups, used, strict=True)]
    before = inside
    while len(rows):
        safe, out = np.ones(len(rows), bool), np.zeros(len(rows), bool)
        for group, have, cap in zip(groups, inside, most, strict=True):
            safe &= (group < 0) | (have + _before(group) < cap)
            out |= (group >= 0) & (have >= cap)
        entering = safe & ~out
        out_of[rows[out]] = True
        left = ~(entering | out)
        inside = [(have + _before(group, of=entering))[left] for have, group in zip(inside, groups, strict=True)]
        groups = [group[left] for group in groups]
        rows = rows[left]
    # Which group refused a pair is told from all that got in, as a round may see a later limit full before an earlier.
    by = np.full(len(out_of), -1, np.int8)
    for limit in reversed(range(len(most))):
        code = codes[limit]
        full = before[limit] + _before(code, of=~out_of) >= most[limit]
        by[out_of & (code >= 0) & full] = limit
        fresh = code[~out_of & (code >= 0)]
        used[limit][:] += np.bincount(fresh, minlength=len(used[limit]))
    return by


def _before(groups: Places, *, of: npt.NDArray[np.bool_] | None = None) -> Places:
    """For each row the number of rows before it (of those that are marked) in the same group."""
    order = np.argsort(groups, kind="stable")
    marks = np.ones(len(groups), np.int64) if of is None else of[order].astype(np.int64)
    earlier = np.cumsum(marks) - marks
    ordered = groups[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    start = np.maximum.accumulate(np.where(first, np.arange(len(groups)), 0))
    found = np.empty(len(groups), np.int64)
    found[order] = earlier - earlier[start]
    return found
