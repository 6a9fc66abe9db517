"""What a million pairs of a subset, with 1,025,000 images and 59,000 prompts as Pick-a-Pic v2 has them, cost before a
picture is read: memory, and seconds of processors, which do not depend on who else computes."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import cost_of

PAIRS, IMAGES, PROMPTS = 1_000_000, 1_025_000, 59_000


def measure(folder: Path) -> dict[str, str]:
    """Each part in turn, in one process of its own."""
    write_pairs(folder / "pairs.parquet")
    cost = cost_of("benchmarks.training_data", folder / "pairs.parquet")
    return {name: str(value) for name, value in cost.result.items()}


def write_pairs(path: Path) -> None:
    """A pairs file of names made up."""
    chance = np.random.default_rng(0)
    uids = _hex(chance, IMAGES, 36)
    texts = pa.array(
        [f"{i:06} of some eighty characters, which is about as long as what people ask for is" for i in range(PROMPTS)]
    )
    columns: dict[str, Any] = {"pair_id": _hex(chance, PAIRS, 16)}
    columns["prompt"] = texts.take(pa.array(chance.integers(0, PROMPTS, PAIRS)))
    for side in ("winner_uid", "loser_uid"):
        columns[side] = uids.take(pa.array(chance.integers(0, IMAGES, PAIRS)))
    pq.write_table(pa.table(columns | {name: np.ones(PAIRS) for name in ("preference", "weight")}), path)


def work(path: str) -> dict[str, str]:
    """Read the pairs, find their looks, and take steps of 2048."""
    from training.blocks import DataConfig
    from training.data.buckets import square
    from training.data.looks import looks_of
    from training.data.order import Order
    from training.data.rows import rows_of
    from training.data.uids import Places

    found: dict[str, str] = {}

    def timed(name: str, part: Callable[[], Any]) -> Any:
        gc.collect()
        before, started = _megabytes("VmRSS"), time.process_time()
        made = part()
        seconds = time.process_time() - started
        gc.collect()
        pa.default_memory_pool().release_unused()
        found[name] = f"{seconds:.3f} s, {_megabytes('VmRSS') - before:+,.0f} MB"
        return made

    begun = _megabytes("VmHWM")
    rows = timed("rows, read from Parquet", lambda: rows_of(pq.read_table(path), ref="x@1"))
    found["most at once while they are read"] = f"{_megabytes('VmHWM') - begun:+,.0f} MB"
    timed("fingerprint", lambda: rows.fingerprint)
    timed("looks", lambda: looks_of(rows, square(len(rows), 512), DataConfig()))
    timed("places by uid", lambda: Places(rows.uids))
    order = Order(len(rows), size=2048, seed=0)
    timed("first step of an epoch", lambda: order.at(0))
    timed("each other step", lambda: order.at(1))
    spread = Order(len(rows), size=2048, seed=0, prompts=rows.prompt)
    timed("first step of an epoch spread over prompts", lambda: spread.at(0))
    return found


def _hex(chance: np.random.Generator, count: int, length: int) -> pa.Array:
    ends = pa.py_buffer(np.arange(count + 1, dtype=np.int32) * length)
    return pa.StringArray.from_buffers(count, ends, pa.py_buffer(chance.bytes(count * length // 2).hex().encode()))


def _megabytes(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1000
    return 0.0
