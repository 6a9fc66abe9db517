"""The selection of `ranking` out of one, ten and (PAIRSIEVE_BENCH_LARGE) a hundred million pairs with two scorers: how
time grows, and whether memory stays bounded."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import cost_of
from ranking import duck
from ranking.features.fields import known_fields
from ranking.features.pairs import PairTable
from ranking.features.tallies import Tally
from ranking.features.wide import VERSION, Wide
from ranking.store.blobs import Store
from ranking.store.parquet import DataFile
from ranking.store.snapshots import Snapshot

SCORERS = ("first", "second")

_ROWS = """
COPY (
    SELECT
        printf('%016x', hash(n)) AS pair_id, printf('%016x', hash(prompt)) AS prompt_id,
        'a prompt of a few words, number ' || prompt AS prompt, printf('%016x', hash(prompt // 5)) AS prompt_cluster,
        printf('%012x', 2 * n) AS image_0_uid, printf('%012x', 2 * n + 1) AS image_1_uid,
        CASE WHEN toss >= 0.1123 THEN (toss < 0.55615)::TINYINT END AS winner, toss < 0.1123 AS is_tie,
        'rater ' || (n // 160) % ({size} // 160 + 1) AS rater, 'model ' || n % 7 AS model_0,
        'model ' || n % 5 AS model_1,
        0 AS flags, NULL::INTEGER AS phash_distance,
        {scores}
    FROM (SELECT range AS n, random() AS toss,
          floor({size} / 17 * pow(random(), 2))::BIGINT AS prompt FROM range({size}))
) TO {path} (FORMAT parquet, COMPRESSION uncompressed, ROW_GROUP_SIZE 122880)
"""


def measure(folder: Path) -> dict[str, Any]:
    """Each size once, in a process of its own."""
    facts: dict[str, Any] = {}
    sizes = [1_000_000, 10_000_000, *([100_000_000] if os.environ.get("PAIRSIEVE_BENCH_LARGE") else [])]
    one = None
    for size in sizes:
        path = folder / f"wide-{size}.parquet"
        cost_of("benchmarks.ranking_large", "write", size, path)
        cost = cost_of("benchmarks.ranking_large", "select", size, path)
        one = one or cost.result["seconds"]
        facts[f"{size:,} pairs"] = (
            f"{cost.result['seconds']:.1f} s, {cost.result['seconds'] / one:.1f} × a million; with statistics "
            f"{cost.result['described']:.1f} s; of processors {cost.cpu_seconds:.1f} s; peak {cost.peak}; "
            f"{cost.result['taken']:,} taken; {path.stat().st_size / 1e9:.1f} GB of Parquet"
        )
        path.unlink()
        shutil.rmtree(folder / f"store-{size}", ignore_errors=True)
    return facts


def work(what: str, size: int, path: str) -> dict[str, Any]:
    """Write the table of this size, or select from it and describe what was selected."""
    if what == "write":
        return _write(size, Path(path))
    from ranking.schema import SUBSET_PAIRS
    from ranking.store.parquet import write_parquet
    from ranking.subsets.recipe import parse_recipe
    from ranking.subsets.select import _taken_pairs
    from ranking.subsets.selection import selecting
    from ranking.subsets.statistics import describe

    table = _table(size, Path(path))
    recipe = parse_recipe(
        {
            "name": "bench",
            "dataset": "bench",
            "metric": {"name": "qsd", "scorer": "first", "normalize": "minmax"},
            "take": {"percent": 5.33},
            "per_prompt": {"max": 4},
        }
    )
    finished = Path(path).with_suffix(".taken")
    started = time.perf_counter()
    with selecting(table, recipe) as selection:
        taken = write_parquet(finished, SUBSET_PAIRS, _taken_pairs(selection))
        seconds = time.perf_counter() - started
        describe(selection, finished)
    finished.unlink()
    return {"seconds": seconds, "described": time.perf_counter() - started, "taken": taken}


def _write(size: int, path: Path) -> dict[str, Any]:
    # Sums of four even numbers: enough of a bell.
    number = "((random() + random() + random() + random() - 2) * 2)::FLOAT"
    scores = ", ".join(f'{number} AS "{name}.0", {number} AS "{name}.1"' for name in SCORERS)
    with duck.connect(memory_limit=duck.MEMORY, temp_directory=path.with_suffix(".spill")) as con:
        con.execute("SELECT setseed(0.5)")
        con.execute(_ROWS.format(size=size, scores=scores, path=duck.literal(str(path))))
    return {}


def _table(size: int, path: Path) -> PairTable:
    """The table as if a store had built it; only what a selection asks of one is there."""
    store = Store.open(path.parent / f"store-{size}")
    tallies = {name: Tally(2 * size, -4.0, 4.0, {}, constant=False, deviation=1.2) for name in SCORERS}
    snapshot = Snapshot(
        n=1, sha="0" * 64, parent=None, created="", datasets={}, scorers={name: name for name in SCORERS}, members=()
    )
    table = PairTable(store, snapshot, "bench")
    file = DataFile(path.name, "", path.stat().st_size, size)
    wide = Wide("bench", snapshot.sha, VERSION, file, {}, tallies, ())
    table.__dict__.update(_checked=(wide, path), fields=known_fields(SCORERS, ()))
    return table
