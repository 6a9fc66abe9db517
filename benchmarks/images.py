"""One image by pointer out of 500 MB of Parquet, and what thumbnails and facts cost beside decoding."""

from __future__ import annotations

import hashlib
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ranking.datasets import Dataset, Source
from ranking.images import ImageReader, decode_rgb
from ranking.images.facts import facts_of
from ranking.images.reader import POINTER
from ranking.images.thumbnails import SIDE, Pack, PackWriter, pack_key, shrink
from ranking.store.blobs import Store

ROWS = 3000
ROW_GROUPS = (100, 1000, 3000)
READS = 15
PICTURES = 96
PACKED = 2048

_PLACE = pa.schema([(name, pa.int64() if name in ("source", "row_group", "row") else pa.string()) for name in POINTER])


def measure(folder: Path) -> dict[str, Any]:
    """Medians in milliseconds with the files in the page cache; pyarrow's own reading beside it, in turns."""
    store = Store.open(folder / "store")
    figures: dict[str, Any] = {}
    for size in ROW_GROUPS:
        path = folder / "images.parquet"
        hashes = _write(path, size)
        ours, theirs = _one_by_one(store, path, size, hashes)
        figures[f"one image, row groups of {size:,}"] = (
            f"{_middle(ours):.1f} ms (slowest {max(ours) * 1e3:.0f}); a scan by pyarrow {_middle(theirs):.0f} ms"
        )
        path.unlink()
    figures |= _pictures()
    figures["one thumbnail of a pack of 2,048"] = f"{_from_pack(store):.2f} ms"
    return figures


def _write(path: Path, row_group: int) -> list[str]:
    rng = np.random.default_rng(0)
    hashes = []
    schema = pa.schema([("caption", pa.string()), ("jpg_0", pa.binary())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, ROWS, row_group):
            cells = [rng.bytes(int(rng.integers(150_000, 190_000))) for _ in range(row_group)]
            hashes += [hashlib.sha256(cell).hexdigest() for cell in cells]
            captions = [f"prompt {start + row}" for row in range(row_group)]
            writer.write_table(pa.table([captions, cells], schema=schema), row_group_size=row_group)
    return hashes


def _one_by_one(store: Store, path: Path, size: int, hashes: list[str]) -> tuple[list[float], list[float]]:
    source = Source(0, str(path), str(path.parent), path.stat().st_size, "0" * 64, ROWS)
    dataset = _dataset(source)
    ours, theirs = [], []
    for row in np.random.default_rng(1).integers(0, ROWS, READS).tolist():
        place = {"image_uid": "it", "source": 0, "row_group": row // size, "row": row, "column": "jpg_0"}
        items = pa.Table.from_pylist([place], schema=_PLACE)
        for _ in range(2):  # the first brings the pages into the cache
            started = time.perf_counter()
            found = ImageReader(store, dataset).read_items(items)["it"]
            seconds = time.perf_counter() - started
        ours.append(seconds)
        if not isinstance(found, bytes) or hashlib.sha256(found).hexdigest() != hashes[row]:
            raise RuntimeError(f"row {row} is not what was written")
        started = time.perf_counter()
        _scan(path, row // size, row % size)
        theirs.append(time.perf_counter() - started)
    return ours, theirs


def _dataset(source: Source) -> Dataset:
    return Dataset(
        name="bench",
        revision=1,
        revision_sha="",
        format="",
        sources=(source,),
        pairs_files=(),
        items_files=(),
        ratings_files=(),
        slices=(),
        n_pairs=0,
        n_items=0,
        skipped={},
        created="",
    )


def _scan(path: Path, group: int, row: int) -> bytes:
    before = 0
    for batch in pq.ParquetFile(path).iter_batches(64, row_groups=[group], columns=["jpg_0"]):
        if row < before + batch.num_rows:
            return bytes(batch.column(0)[row - before].as_buffer())
        before += batch.num_rows
    raise RuntimeError("no such row")


def _pictures() -> dict[str, Any]:
    data = [_photo(seed) for seed in range(PICTURES)]
    images = [decode_rgb(each) for each in data]
    decode = _seconds(lambda at: decode_rgb(data[at]))
    facts = _seconds(lambda at: facts_of(data[at], images[at]))
    thumbnails = _seconds(lambda at: shrink(images[at], SIDE))
    return {
        "decoding 512-pixel JPEGs, one thread": f"{1 / decode:,.0f} images/s",
        "facts of them": f"{1 / facts:,.0f} images/s, {facts / decode:.0%} of decoding",
        "thumbnails of them": f"{1 / thumbnails:,.0f} images/s, {thumbnails / decode:.0%} of decoding",
    }


def _photo(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    patches = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).resize((512, 512), Image.Resampling.BICUBIC)
    noisy = np.asarray(patches, np.float64) + rng.normal(0, 12, (512, 512, 3))
    out = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


def _from_pack(store: Store) -> float:
    unit, rng = "0" * 16, np.random.default_rng(0)
    with PackWriter(store) as writer:
        for number in range(PACKED):
            writer.add(f"image-{number}", rng.bytes(8000))
        writer.put(unit)
    pack = Pack.open(store.local(pack_key(unit)))
    return 1e3 * statistics.median(_times(lambda at: pack.read(f"image-{at * 7919 % PACKED}")))


def _seconds(work: Callable[[int], object]) -> float:
    return statistics.median(_times(work))


def _times(work: Callable[[int], object]) -> list[float]:
    times = []
    for at in range(PICTURES):
        started = time.perf_counter()
        work(at)
        times.append(time.perf_counter() - started)
    return times


def _middle(seconds: list[float]) -> float:
    return 1e3 * statistics.median(seconds)
