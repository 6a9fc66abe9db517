"""Makes small Pick-a-Pic Parquet files for tests: all 18 columns, real little JPEGs, labels and repeats as
asked.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SCHEMA = pa.schema(
    [
        ("are_different", pa.bool_()),
        ("best_image_uid", pa.string()),
        ("caption", pa.string()),
        ("created_at", pa.timestamp("ns")),
        ("has_label", pa.bool_()),
        ("image_0_uid", pa.string()),
        ("image_0_url", pa.string()),
        ("image_1_uid", pa.string()),
        ("image_1_url", pa.string()),
        ("jpg_0", pa.binary()),
        ("jpg_1", pa.binary()),
        ("label_0", pa.float64()),
        ("label_1", pa.float64()),
        ("model_0", pa.string()),
        ("model_1", pa.string()),
        ("ranking_id", pa.int64()),
        ("user_id", pa.int64()),
        ("num_example_per_prompt", pa.int64()),
        ("__index_level_0__", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Row:
    """One judgement. `winner` is 0, 1 or None for a tie; any column can be overridden in `raw`."""

    prompt: str | None
    image_0: str | None
    image_1: str | None
    winner: int | None = 0
    user: int | None = 7
    model_0: str = "drawer-a"
    model_1: str = "drawer-b"
    ranking: int = 0
    raw: tuple[tuple[str, Any], ...] = ()


def rows(n: int, *, prompts: int = 3, first: int = 0) -> list[Row]:
    """`n` different rows, images numbered so that each image_1 comes back as the next row's image_0 (a
    chain).
    """
    return [
        Row(
            prompt=f"prompt {(first + i) % prompts}",
            image_0=f"img-{first + i}",
            image_1=f"img-{first + i + prompts}",
            winner=(0, 1, None)[(first + i) % 3],
            user=(first + i) % 5,
            ranking=first + i,
        )
        for i in range(n)
    ]


@cache
def jpeg(uid: str, size: int = 8) -> bytes:
    """A plain little JPEG whose colour depends on `uid`."""
    digest = sha256(uid.encode()).digest()
    out = io.BytesIO()
    Image.new("RGB", (size, size), (digest[0], digest[1], digest[2])).save(out, "JPEG")
    return out.getvalue()


def table(rows: Iterable[Row]) -> pa.Table:
    """The rows as a table with every column of Pick-a-Pic."""
    return pa.Table.from_pylist([_record(i, row) for i, row in enumerate(rows)], schema=SCHEMA)


def write(path: Path, rows: Iterable[Row], *, without: Sequence[str] = (), row_group_size: int | None = None) -> Path:
    """Write the rows to `path`, leaving out the columns `without`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(rows).drop_columns(list(without)), path, row_group_size=row_group_size)
    return path


def with_raw(row: Row, **raw: Any) -> Row:
    """The same row with columns overridden."""
    return replace(row, raw=(*row.raw, *raw.items()))


def _record(i: int, row: Row) -> dict[str, Any]:
    label = {0: (1.0, 0.0), 1: (0.0, 1.0), None: (0.5, 0.5)}[row.winner]
    record = {
        "are_different": row.winner is not None,
        "best_image_uid": {0: row.image_0, 1: row.image_1, None: "tie"}[row.winner],
        "caption": row.prompt,
        "created_at": datetime(2024, 1, 1) + timedelta(seconds=row.ranking),
        "has_label": True,
        "image_0_uid": row.image_0,
        "image_0_url": f"https://images.invalid/{row.image_0}",
        "image_1_uid": row.image_1,
        "image_1_url": f"https://images.invalid/{row.image_1}",
        "jpg_0": jpeg(row.image_0 or ""),
        "jpg_1": jpeg(row.image_1 or ""),
        "label_0": label[0],
        "label_1": label[1],
        "model_0": row.model_0,
        "model_1": row.model_1,
        "ranking_id": row.ranking,
        "user_id": row.user,
        "num_example_per_prompt": 1,
        "__index_level_0__": i,
    }
    return record | dict(row.raw)
