"""A selection by QSD, the top 5.33 % with at most four pairs of a prompt, out of a million pairs scored by eight
scorers: by hand in pandas, polars and DuckDB, and ours, side by side."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import cost_of
from benchmarks.wide import _scored as scored_store
from ranking.features.pairs import PairTable
from ranking.store.blobs import Store
from ranking.store.snapshots import latest_snapshot

PAIRS = 1_000_000
REPEATS = 5
SCORER = "scorer-3"
PERCENT = 5.33
PER_PROMPT = 4
BY_HAND = ("pandas", "polars", "duckdb")
FIRST = "ours, with statistics and files, first of its snapshot"
OURS = ("ours, file hashed before", "ours", FIRST, "ours, with statistics and files")


def measure(folder: Path) -> dict[str, Any]:
    """Medians of rounds in which each way runs once, in a process of its own; imports are left out. Every way must give
    the same pairs."""
    pairs = int(os.environ.get("PAIRSIEVE_BENCH_PAIRS", PAIRS))
    store = scored_store(folder, pairs)
    snapshot = latest_snapshot(store)
    assert snapshot is not None
    table = PairTable(store, snapshot, "bench")
    path = str(table.path)
    seconds: dict[str, list[float]] = {way: [] for way in (*BY_HAND, *OURS)}
    processors: dict[str, list[float]] = {way: [] for way in seconds}
    peaks: dict[str, int] = {}
    taken = set()
    for _ in range(REPEATS):
        for way in seconds:
            cost = cost_of("benchmarks.ranking", way, store.uri, path)
            seconds[way].append(cost.result["seconds"])
            processors[way].append(cost.result["processors"])
            peaks[way] = max(peaks.get(way, 0), cost.peak_bytes)
            taken.add(cost.result["pairs"])
    assert len(taken) == 1, "every way takes the same pairs"
    polars = statistics.median(seconds["polars"])
    facts: dict[str, Any] = {"pairs × scorers": f"{pairs:,} × 8"}
    for way, found in seconds.items():
        middle = statistics.median(found)
        facts[way] = (
            f"{middle:.2f} s ({min(found):.2f} to {max(found):.2f}), {middle / polars:.2f} × polars, "
            f"of processors {statistics.median(processors[way]):.2f} s, peak {peaks[way] / 1e9:.2f} GB"
        )
    return facts


def work(way: str, uri: str, path: str) -> dict[str, Any]:
    """One way, timed without imports: how long it took and a hash of the pairs it took, in their order."""
    from hashlib import sha256

    run = {"pandas": _pandas, "polars": _polars, "duckdb": _duckdb}.get(way)
    if run is not None:
        run(None)
        started = _clocks()
        ids = run(path)
        seconds, processors = _since(started)
    else:
        ids, seconds, processors = _ours(way, uri)
    return {"seconds": seconds, "processors": processors, "pairs": sha256("".join(ids).encode()).hexdigest()}


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(started: tuple[float, float]) -> tuple[float, float]:
    """Seconds by the clock and of processors."""
    return time.perf_counter() - started[0], time.process_time() - started[1]


def _ours(way: str, uri: str) -> tuple[list[str], float, float]:
    from ranking.subsets.catalog import subset_pairs
    from ranking.subsets.recipe import parse_recipe
    from ranking.subsets.select import create_subset, selected_pairs

    store = Store.open(uri)
    snapshot = latest_snapshot(store)
    assert snapshot is not None
    recipe = parse_recipe(
        {
            "name": "bench",
            "dataset": "bench",
            "metric": {"name": "qsd", "scorer": SCORER, "normalize": "minmax"},
            "take": {"percent": PERCENT},
            "per_prompt": {"max": PER_PROMPT},
            "flags": "keep",
        }
    )
    table = PairTable(store, snapshot, "bench")
    for key in (*store.list("subsets"), *(store.list("statistics") if way == FIRST else ())):
        store.delete(key)
    if way.endswith("before"):
        assert table.path
    started = _clocks()
    if "files" in way:
        subset = create_subset(store, recipe, snapshot, table=table)
        took = _since(started)
        return subset_pairs(store, subset)["pair_id"].to_pylist(), *took
    found = selected_pairs(store, snapshot, recipe, table=table)
    took = _since(started)
    return found["pair_id"].to_pylist(), *took


_TEXTS = ["pair_id", "prompt_id", "prompt", "image_0_uid", "image_1_uid"]


def _pandas(path: str | None) -> list[str]:
    import numpy as np
    import pandas as pd

    if path is None:
        return []
    frame = pd.read_parquet(path, columns=[*_TEXTS, "winner", f"{SCORER}.0", f"{SCORER}.1"])
    first, second = frame[f"{SCORER}.0"].astype(float), frame[f"{SCORER}.1"].astype(float)
    low, high = min(first.min(), second.min()), max(first.max(), second.max())
    won = frame["winner"] == 0
    winner = (np.where(won, first, second) - low) / (high - low)
    loser = (np.where(won, second, first) - low) / (high - low)
    frame["metric"] = winner * (1 - loser)
    frame = frame[frame["winner"].notna() & frame["metric"].notna()]
    take = round(len(frame) * PERCENT / 100)
    frame = frame.sort_values(["metric", "pair_id"], ascending=[False, True])
    frame = frame[frame.groupby("prompt_id").cumcount() < PER_PROMPT].head(take)
    won = frame["winner"] == 0
    frame["winner_uid"] = frame["image_0_uid"].where(won, frame["image_1_uid"])
    frame["loser_uid"] = frame["image_1_uid"].where(won, frame["image_0_uid"])
    found: list[str] = frame.drop(columns=["image_0_uid", "image_1_uid"])["pair_id"].tolist()
    return found


def _polars(path: str | None) -> list[str]:
    import polars as pl

    if path is None:
        return []
    first, second = pl.col(f"{SCORER}.0").cast(pl.Float64), pl.col(f"{SCORER}.1").cast(pl.Float64)
    low, high = pl.min_horizontal(first.min(), second.min()), pl.max_horizontal(first.max(), second.max())
    won = pl.col("winner") == 0
    winner = (pl.when(won).then(first).otherwise(second) - low) / (high - low)
    loser = (pl.when(won).then(second).otherwise(first) - low) / (high - low)
    frame = (
        pl.scan_parquet(path)
        .select(*_TEXTS, "winner", metric=winner * (1 - loser))
        .filter(pl.col("winner").is_not_null() & pl.col("metric").is_not_null())
        .collect()
    )
    take = round(frame.height * PERCENT / 100)
    frame = (
        frame.sort("metric", "pair_id", descending=[True, False])
        .filter(pl.int_range(pl.len()).over("prompt_id") < PER_PROMPT)
        .head(take)
        .with_columns(
            winner_uid=pl.when(won).then("image_0_uid").otherwise("image_1_uid"),
            loser_uid=pl.when(won).then("image_1_uid").otherwise("image_0_uid"),
        )
        .drop("image_0_uid", "image_1_uid", "winner")
    )
    return frame["pair_id"].to_list()


def _duckdb(path: str | None) -> list[str]:
    import duckdb

    if path is None:
        return []
    a, b = f'"{SCORER}.0"::DOUBLE', f'"{SCORER}.1"::DOUBLE'
    found = duckdb.connect().sql(
        f"""WITH scale AS (SELECT min(least({a}, {b})) AS low, max(greatest({a}, {b})) AS high FROM '{path}'),
            judged AS (
                SELECT pair_id, prompt_id, prompt,
                    CASE winner WHEN 0 THEN image_0_uid ELSE image_1_uid END AS winner_uid,
                    CASE winner WHEN 0 THEN image_1_uid ELSE image_0_uid END AS loser_uid,
                    (CASE winner WHEN 0 THEN {a} ELSE {b} END - low) / (high - low)
                    * (1 - (CASE winner WHEN 0 THEN {b} ELSE {a} END - low) / (high - low)) AS metric
                FROM '{path}', scale WHERE winner IS NOT NULL),
            eligible AS (SELECT * FROM judged WHERE metric IS NOT NULL)
            SELECT * FROM eligible
            QUALIFY row_number() OVER (PARTITION BY prompt_id ORDER BY metric DESC, pair_id) <= {PER_PROMPT}
            ORDER BY metric DESC, pair_id LIMIT (SELECT round(count(*) * {PERCENT} / 100)::BIGINT FROM eligible)"""
    )
    return found.to_arrow_table()["pair_id"].to_pylist()
