"""What two subsets have in common and what sets them apart. Judges neither."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ranking import duck
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset, subset_pairs

_MOST = 2_000_000


@dataclass(frozen=True)
class Change:
    """A key of the recipe, with dots, that differs; None where a subset's recipe does not have it."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Comparison:
    """Subset `a` beside subset `b`.

    `common` pairs are in both; `jaccard` is common ÷ (common + only_a + only_b); `overlap` common ÷ the smaller one's
    rows. `spearman` (ρ) and `kendall` (τ-b) correlate the ranks of the common pairs, −1 to 1, None below two; τ is
    left out above two million. `flipped` common pairs have the other image for a winner. `common_prompts` are those
    with pairs in both. `recipe` lists what differs in the recipes, by key, `snapshots` the two hashes where they
    differ, `statistics` the numbers of both subsets after selection, by name.
    """

    a: str
    b: str
    rows: tuple[int, int]
    common: int
    only_a: int
    only_b: int
    jaccard: float
    overlap: float
    spearman: float | None
    kendall: float | None
    flipped: int
    common_prompts: int
    recipe: tuple[Change, ...]
    snapshots: tuple[str, str] | None
    statistics: dict[str, tuple[Any, Any]]


def compare(store: Store, a: Subset, b: Subset) -> Comparison:
    """Compare two subsets, of one dataset or of two; pairs are the same where their ids are. StoreError if a file is
    damaged."""
    with duck.connect(memory_limit=duck.MEMORY) as con:
        for name, subset in (("a", a), ("b", b)):
            con.register(name, subset_pairs(store, subset).select(["pair_id", "rank", "winner_uid", "prompt_id"]))
        both = duck.arrow(
            con,
            """SELECT a.rank AS a, b.rank AS b, a.winner_uid <> b.winner_uid AS flipped
               FROM a JOIN b USING (pair_id) ORDER BY a.rank""",
        )
        ((prompts,),) = con.sql(
            "SELECT count(*) FROM (SELECT DISTINCT prompt_id FROM a) SEMI JOIN b USING (prompt_id)"
        ).fetchall()
    common = both.num_rows
    spearman, kendall = _correlations(both)
    return Comparison(
        a=a.ref,
        b=b.ref,
        rows=(a.rows, b.rows),
        common=common,
        only_a=a.rows - common,
        only_b=b.rows - common,
        jaccard=common / (a.rows + b.rows - common),
        overlap=common / min(a.rows, b.rows),
        spearman=spearman,
        kendall=kendall,
        flipped=int(np.count_nonzero(both["flipped"].to_numpy())),
        common_prompts=int(prompts),
        recipe=tuple(_changes(a.recipe, b.recipe)),
        snapshots=None if a.snapshot.sha == b.snapshot.sha else (a.snapshot.sha, b.snapshot.sha),
        statistics=_beside(a.statistics.get("after", {}), b.statistics.get("after", {})),
    )


def _correlations(both: pa.Table) -> tuple[float | None, float | None]:
    """Spearman's ρ and Kendall's τ of ranks without ties, given in the order of the first."""
    n = both.num_rows
    if n < 2:
        return None, None
    # Places among the common pairs, so that both are permutations of 0 … n − 1.
    places = np.argsort(np.argsort(both["b"].to_numpy())).astype(np.int64)
    apart = places - np.arange(n)
    # In whole numbers of Python: n³ does not fit into 64 bits for millions of pairs.
    spearman = 1 - 6 * int(np.sum(apart.astype(np.float64) ** 2)) / (n * (n * n - 1))
    if n > _MOST:
        return spearman, None
    return spearman, 1 - 4 * inversions(places) / (n * (n - 1))


def inversions(places: npt.NDArray[np.int64]) -> int:
    """How many pairs of a permutation of 0 … n − 1 stand in the wrong order; O(n log² n), by merging ever longer runs
    all at once."""
    n, width, found = len(places), 1, 0
    current = places.astype(np.int64)
    while width < n:
        run = np.arange(n) // (2 * width)
        right = (np.arange(n) // width) % 2 == 1
        order = np.argsort(run * n + current, kind="stable")
        # Sorted within its two runs, each of the left run has been passed by those of the right that stand before it.
        from_right = right[order].astype(np.int64)
        passed = np.cumsum(from_right)
        start = run * 2 * width
        before = np.where(start > 0, passed[np.maximum(start - 1, 0)], 0)
        found += int(((passed - before) * (1 - from_right)).sum())
        current = current[order]
        width *= 2
    return found


def _changes(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[Change]:
    found = []
    for key in sorted({*a, *b}):
        one, other = a.get(key), b.get(key)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            found += _changes(one, other, f"{prefix}{key}.")
        else:
            found.append(Change(f"{prefix}{key}", one, other))
    return found


def _beside(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*a, *(key for key in b if key not in a)]:
        one, other = a.get(key), b.get(key)
        if isinstance(one, dict) or isinstance(other, dict):
            found |= _beside(one or {}, other or {}, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = one, other
    return found
