"""Ingest of Pick-a-Pic metadata without images, at two sizes: rows a second, and how time grows."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ranking.ingest import ingest
from ranking.store.blobs import Store

SIZES = (50_000, 200_000)


def measure(folder: Path) -> dict[str, Any]:
    """Seconds at both sizes and the growth exponent between them (1 is linear)."""
    seconds = []
    for size in SIZES:
        source = folder / f"{size}.parquet"
        _write(source, size)
        store = Store.open(folder / f"store-{size}")
        started = time.perf_counter()
        ingest(store, source, "bench")
        seconds.append(time.perf_counter() - started)
    exponent = math.log(seconds[1] / seconds[0]) / math.log(SIZES[1] / SIZES[0])
    return {
        **{f"{size:,} pairs": f"{s:.2f} s, {size / s:,.0f} a second" for size, s in zip(SIZES, seconds, strict=True)},
        "growth exponent": exponent,
    }


def _write(path: Path, size: int) -> None:
    rng = np.random.default_rng(0)
    prompts = np.array([f"a fairly long prompt number {i}, oil painting, highly detailed" for i in range(size // 16)])
    label = rng.choice([1.0, 0.0, 0.5], size, p=[0.45, 0.44, 0.11])
    # A chain: the next pair's first image is often this pair's second.
    second = np.arange(size) + 1
    first = np.where(rng.random(size) < 0.5, np.arange(size), second + size)
    table = pa.table(
        {
            "caption": prompts[np.sort(rng.integers(0, len(prompts), size))],
            "image_0_uid": [f"{i:036d}" for i in first],
            "image_1_uid": [f"{i:036d}" for i in second],
            "label_0": label,
            "label_1": 1 - label,
            "has_label": np.ones(size, bool),
            "user_id": rng.integers(0, 5000, size),
            "model_0": rng.choice(["a", "b", "c"], size),
            "model_1": rng.choice(["a", "b", "c"], size),
            "created_at": pa.array(np.arange(size), pa.timestamp("ns")),
            "ranking_id": np.arange(size),
        }
    )
    pq.write_table(table, path)
