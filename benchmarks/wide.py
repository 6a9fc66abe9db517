"""The wide table of a million pairs by eight scorers: building it from a thousand shards, and loading it as the API
does."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.measuring import cost_of
from benchmarks.pickapic import write_pairs
from ranking.datasets import get_dataset
from ranking.features.wide import checked_wide
from ranking.graph.label_graph import label_graph
from ranking.ingest import ingest
from ranking.plan import create_plan, open_slices, read_items
from ranking.schema import OK, SCORES
from ranking.store.blobs import Store
from ranking.store.commits import commit_scores
from ranking.store.snapshots import create_snapshot, latest_snapshot

PAIRS = 1_000_000
SCORERS = 8
SHARDS = 1_000
REPEATS = 5


def measure(folder: Path) -> dict[str, Any]:
    """Medians of five runs, each in a fresh process; the label graph is there already, as after every ingest."""
    pairs = int(os.environ.get("PAIRSIEVE_BENCH_PAIRS", PAIRS))
    store = _scored(folder, pairs)
    built, loaded = [], []
    for _ in range(REPEATS):
        for key in store.list("wide"):
            store.delete(key)
        built.append(cost_of("benchmarks.wide", store.uri, "build"))
        loaded.append(cost_of("benchmarks.wide", store.uri, "load"))
    snapshot = latest_snapshot(store)
    assert snapshot is not None
    facts: dict[str, Any] = {"pairs × scorers": f"{pairs:,} × {SCORERS}", "shards": len(snapshot.members)}
    for name, costs in (("build", built), ("load in the API", loaded)):
        inner = sorted(cost.result["seconds"] for cost in costs)
        cpu = statistics.median(cost.result["cpu_seconds"] for cost in costs)
        facts[name] = (
            f"{statistics.median(inner):.2f} s ({inner[0]:.2f} to {inner[-1]:.2f}), of processors {cpu:.2f} s, "
            f"peak {max(cost.peak_bytes for cost in costs) / 1e9:.2f} GB"
        )
    return facts


def work(store: str, what: str) -> dict[str, float]:
    """What is measured, without the time that Python takes to start and import."""
    import time

    from service.snapshots import load_view

    opened = Store.open(store)
    snapshot = latest_snapshot(opened)
    assert snapshot is not None
    started, before = time.perf_counter(), time.process_time()
    if what == "build":
        checked_wide(opened, snapshot, "bench")
    else:
        load_view(opened)
    return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - before}


def _scored(folder: Path, pairs: int) -> Store:
    """A store with a dataset that eight made-up scorers have scored, in about a thousand commits."""
    store = Store.open(folder / "wide-store")
    if latest_snapshot(store) is not None:
        return store
    source = write_pairs(folder / f"wide-{pairs}.parquet", pairs)
    report = ingest(store, source, "bench", slice_items=1 + int(1.17 * pairs * SCORERS / SHARDS))
    assert report.pairs_added == pairs
    label_graph(store, get_dataset(store, "bench"))
    plan = create_plan(store, "bench", [f"scorer-{n}@{n:08x}" for n in range(SCORERS)])
    rng = np.random.default_rng(0)
    for piece, scorer_ids in open_slices(store, plan):
        items = read_items(store, plan, piece)
        statuses = pa.array([OK] * items.num_rows)
        for scorer_id in scorer_ids:
            values = pa.array(rng.standard_normal(items.num_rows), pa.float32())
            columns = [items["image_uid"], items["prompt_id"], values, statuses]
            table = pa.table(columns, schema=SCORES)
            commit_scores(store, scorer_id=scorer_id, unit=piece.unit, table=table, attempt="bench", items=items)
    create_snapshot(store)
    return store
