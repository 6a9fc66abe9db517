"""Helpers of the adapters' tests: a file as ingest finds it, what an adapter makes of it, tiny pictures."""

import io
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ranking.ingest.adapters import ADAPTERS, Adapter, Options
from ranking.ingest.raw import JUDGEMENTS, RATINGS
from ranking.ingest.sources import SourceFile, find_sources

CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How the hub stores a picture in Parquet."""


def adapter(name: str) -> Adapter:
    return next(found for found in ADAPTERS if found.name == name)


def source(path: Path, *, root: Path | None = None) -> SourceFile:
    """The file as ingest finds it when the user names it, or the folder `root` above it."""
    return next(file for file in find_sources(root or path, [path.name]) if file.uri == str(path))


def write_json(path: Path, rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def write_parquet(path: Path, table: pa.Table, *, row_group_size: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def read(
    name: str, path: Path, *, root: Path | None = None, images: str | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The judgements and the ratings that an adapter makes of a file that it must recognise."""
    found, file = adapter(name), source(path, root=root)
    assert found.mismatch(file) is None
    judgements: list[dict[str, Any]] = []
    ratings: list[dict[str, Any]] = []
    for batch in found.read(file, Options(images=images)):
        batch.validate(full=True)
        assert batch.num_rows <= 65_536
        assert batch.schema.equals(JUDGEMENTS) or batch.schema.equals(RATINGS)
        (judgements if batch.schema.equals(JUDGEMENTS) else ratings).extend(batch.to_pylist())
    for rows in (judgements, ratings):
        assert [row["row"] for row in rows] == sorted(row["row"] for row in rows)
    return judgements, ratings


def labels(rows: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(row["label_0"], row["label_1"]) for row in rows]


def votes(rows: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(row["votes_0"], row["votes_1"]) for row in rows]


def uids(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["image_0_uid"], row["image_1_uid"]) for row in rows]


def reasons(rows: Sequence[dict[str, Any]]) -> list[str | None]:
    return [row["reason"] for row in rows]


def picture(number: int) -> bytes:
    """A PNG of its own for every number below 256."""
    data = io.BytesIO()
    Image.new("RGB", (4, 4), (number, 255 - number, 128)).save(data, "PNG")
    return data.getvalue()


def uid_of(data: bytes) -> str:
    return sha256(data).hexdigest()[:32]


def cell(path: Path, row: dict[str, Any], side: int) -> bytes:
    """The bytes at the place that a judgement gives for one side, taken out of the file with pyarrow alone."""
    group, number, column = row[f"row_group_{side}"], row[f"row_{side}"], row[f"column_{side}"]
    with pq.ParquetFile(path) as file:
        before = sum(file.metadata.row_group(index).num_rows for index in range(group))
        value = file.read_row_group(group).to_pylist()[number - before]
    for part in column.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    assert isinstance(value, bytes)
    return value
