"""Exports of a subset with images: MB a second in each form, against a plain copy of the same bytes, and the memory
that it takes."""

from __future__ import annotations

import io
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.measuring import cost_of
from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.store.snapshots import create_snapshot
from ranking.subsets.catalog import get_subset
from ranking.subsets.export.export import export_subset
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset

FILES = 8
ROWS = 150
IMAGE_BYTES = 400_000
PAIRS = 400
LARGE_FILES = 24
LARGE_PAIRS = 1_600
REPEATS = 3
FORMATS = ("parquet", "hf", "jsonl", "webdataset")


def measure(folder: Path) -> dict[str, Any]:
    """Medians of three exports in fresh processes, each followed by a copy of what it wrote; both end when the disk has
    it. With PAIRSIEVE_BENCH_LARGE=1 once with ten times as many pairs, which shows what memory does."""
    facts = _figures(folder / "small", FILES, PAIRS, FORMATS, REPEATS)
    if os.environ.get("PAIRSIEVE_BENCH_LARGE") == "1":
        facts |= _figures(folder / "large", LARGE_FILES, LARGE_PAIRS, ("parquet",), 1)
    return facts


def work(store: str, ref: str, to: str, format: str) -> int:
    """What is measured: one export; the bytes it wrote."""
    opened = Store.open(store)
    return export_subset(opened, get_subset(opened, ref), Path(to), format=format).bytes


def copy(source: str, to: str) -> None:
    """What it is measured against: every file read and written, a megabyte at a time."""
    for path in Path(source).rglob("*"):
        if path.is_file():
            target = Path(to) / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as read, target.open("wb") as written:
                while data := read.read(1 << 20):
                    written.write(data)
    os.sync()


def _figures(folder: Path, files: int, pairs: int, formats: tuple[str, ...], repeats: int) -> dict[str, Any]:
    ref = _prepare(folder, files, pairs)
    facts = {}
    for format in formats:
        rates, ratios, peaks, work_cpu, copy_cpu = [], [], [], [], []
        for turn in range(repeats):
            to = folder / f"{format}-{turn}"
            cost = cost_of("benchmarks.exports", str(folder / "store"), ref, str(to), format)
            size = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
            started, before = time.perf_counter(), time.process_time()
            copy(str(to), str(folder / "copy"))
            plain = time.perf_counter() - started
            copy_cpu.append(time.process_time() - before)
            work_cpu.append(cost.cpu_seconds)
            for path in sorted([*to.rglob("*"), *(folder / "copy").rglob("*")], reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            rates.append(size / cost.seconds / 1e6)
            ratios.append(cost.seconds / plain)
            peaks.append(cost.peak_bytes)
        facts[f"{format}, {pairs:,} pairs, {size / 1e6:,.0f} MB"] = (
            f"{statistics.median(rates):,.0f} MB/s ({min(rates):,.0f} to {max(rates):,.0f}), "
            f"{statistics.median(ratios):.2f} times a plain copy ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"of processors {statistics.median(work_cpu):.1f} s (copy {statistics.median(copy_cpu):.1f} s), "
            f"peak {max(peaks) / 1e9:.2f} GB"
        )
    return facts


def _prepare(folder: Path, files: int, pairs: int) -> str:
    """A store with a subset drawn by lot of pairs in several files, each image a JPEG with noise behind its end."""
    out = io.BytesIO()
    Image.new("RGB", (512, 512), (90, 120, 30)).save(out, "JPEG")
    head, draw = out.getvalue(), np.random.default_rng(0)
    for part in range(files):
        numbers = range(part * ROWS, (part + 1) * ROWS)
        images = [[head + draw.bytes(IMAGE_BYTES - len(head)) for _ in numbers] for _ in range(2)]
        table = {
            "caption": [f"prompt {number // 4}" for number in numbers],
            "jpg_0": images[0],
            "jpg_1": images[1],
            "image_0_uid": [f"{number}-0" for number in numbers],
            "image_1_uid": [f"{number}-1" for number in numbers],
            "label_0": [float(number % 2) for number in numbers],
            "label_1": [float(1 - number % 2) for number in numbers],
        }
        path = folder / "source" / f"part-{part:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table), path, row_group_size=50)
    store = Store.open(folder / "store")
    ingest(store, folder / "source", "bench")
    recipe = {"name": "bench", "dataset": "bench", "metric": {"name": "random"}, "take": {"count": pairs}}
    return create_subset(store, parse_recipe(recipe), create_snapshot(store)).ref
