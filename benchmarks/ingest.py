"""Ingest of Pick-a-Pic metadata and its label graph: seconds, memory, and how both grow with the number of pairs."""

from __future__ import annotations

import math
import os
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.measuring import Cost, cost_of
from benchmarks.pickapic import write_pairs
from ranking.datasets import get_dataset
from ranking.graph.label_graph import label_graph
from ranking.ingest import ingest
from ranking.store.blobs import Store

SIZES = (250_000, 1_000_000)
LARGE = 10_000_000
REPEATS = 3


def measure(folder: Path) -> dict[str, Any]:
    """Medians of three runs at each size, each in a fresh process; ten million pairs once, with
    PAIRSIEVE_BENCH_LARGE=1."""
    large = os.environ.get("PAIRSIEVE_BENCH_LARGE") == "1"
    costs = {size: [_run(folder, size, turn) for turn in range(REPEATS)] for size in SIZES}
    if large:
        costs[LARGE] = [_run(folder, LARGE, 0)]
    sizes = list(costs)
    seconds = {size: statistics.median(cost.seconds for cost in costs[size]) for size in sizes}
    cpu = {size: statistics.median(cost.cpu_seconds for cost in costs[size]) for size in sizes}
    facts = {}
    for size in sizes:
        spread = sorted(cost.seconds for cost in costs[size])
        peak = max(cost.peak_bytes for cost in costs[size])
        facts[f"{size:,} pairs"] = (
            f"{seconds[size]:.1f} s ({spread[0]:.1f} to {spread[-1]:.1f}), of processors {cpu[size]:.1f} s, "
            f"{size / seconds[size]:,.0f} pairs/s, peak {peak / 1e9:.2f} GB"
        )
    for small, big in pairwise(sizes):
        exponent = math.log(cpu[big] / cpu[small]) / math.log(big / small)
        facts[f"growth exponent, {small:,} to {big:,}"] = f"{exponent:.2f} (of processor time; 1 is linear)"
    return facts


def work(source: str, store: str) -> None:
    """What is measured: an ingest and the label graph."""
    opened = Store.open(store)
    ingest(opened, source, "bench")
    label_graph(opened, get_dataset(opened, "bench"))


def _run(folder: Path, size: int, turn: int) -> Cost:
    source = folder / f"{size}.parquet"
    if not source.exists():
        write_pairs(source, size)
    return cost_of("benchmarks.ingest", str(source), str(folder / f"store-{size}-{turn}"))
