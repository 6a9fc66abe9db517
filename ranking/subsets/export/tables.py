"""Exports as Parquet: in the schema of Pick-a-Pic, which public trainers of Diffusion-DPO read, and with images as the
Hugging Face `datasets` library knows them."""

import json
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking.subsets.export.cut import Group
from ranking.subsets.export.folder import File, Folder
from ranking.subsets.export.rows import METADATA
from ranking.subsets.export.sink import HashingFile

_IMAGES: Final = ("jpg_0", "jpg_1")

PICKAPIC: pa.Schema = pa.schema(
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
"""The columns of Pick-a-Pic v1 and v2 in their order."""

EXTRA: Final = (
    "pair_id",
    "rank",
    "metric",
    "preference",
    "weight",
    "label_source",
    "human_label_0",
    "rater",
    "votes_0",
    "votes_1",
)
"""What the Parquet of an export has beyond Pick-a-Pic, named as in METADATA."""

_BYTES: Final = (*_IMAGES, "image_0.bytes", "image_1.bytes")  # in which nothing repeats, and nothing shrinks
_CELL: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FEATURES: Final = {
    pa.string(): "string",
    pa.int64(): "int64",
    pa.int8(): "int8",
    pa.float64(): "float64",
    pa.timestamp("us"): "timestamp[us]",
}


def pickapic_schema(*, images: bool) -> pa.Schema:
    """PICKAPIC and then EXTRA; without images, without jpg_0 and jpg_1."""
    fields = [field for field in PICKAPIC if images or field.name not in _IMAGES]
    return pa.schema([*fields, *(METADATA.field(name) for name in EXTRA)])


def pickapic_table(group: Group) -> pa.Table:
    """The rows of a group in that schema."""
    rows = group.rows
    first = pc.equal(rows["label_0"], 1.0)
    count = rows.num_rows
    columns: dict[str, Any] = {
        "are_different": pa.repeat(True, count),
        "best_image_uid": pc.if_else(first, rows["image_0_uid"], rows["image_1_uid"]),
        "caption": rows["prompt"],
        "created_at": _nanoseconds(rows["created_at"]),
        "has_label": pa.repeat(True, count),
        "image_0_url": group.urls[0],
        "image_1_url": group.urls[1],
        "ranking_id": pa.nulls(count, pa.int64()),
        "user_id": _numbers(rows["rater"]),
        "num_example_per_prompt": rows["prompt_pairs"],
        "__index_level_0__": pc.subtract(rows["rank"], 1),
    }
    if group.pictures:
        for name, pictures in zip(_IMAGES, group.pictures, strict=True):
            columns[name] = pa.array([picture.data for picture in pictures], pa.binary())
    schema = pickapic_schema(images=group.pictures is not None)
    return pa.table([columns[name] if name in columns else rows[name] for name in schema.names], schema=schema)


def features_schema(*, images: bool) -> pa.Schema:
    """METADATA and the two images, with the features of the `datasets` library in its metadata."""
    cells = [pa.field(f"image_{side}", _CELL) for side in (0, 1)] if images else []
    fields = [*METADATA, *cells]
    features: dict[str, Any] = {
        field.name: {"_type": "Image"} if field.type == _CELL else {"dtype": _FEATURES[field.type], "_type": "Value"}
        for field in fields
    }
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def features_table(group: Group) -> pa.Table:
    """The rows of a group in that schema."""
    cells = []
    for pictures in group.pictures or ():
        data = pa.array([picture.data for picture in pictures], pa.binary())
        paths = pa.array([f"image.{picture.ending}" for picture in pictures], pa.string())
        cells.append(pa.StructArray.from_arrays([data, paths], fields=list(_CELL)))
    schema = features_schema(images=group.pictures is not None)
    return pa.table([*group.rows.columns, *cells], schema=schema)


class ParquetShards:
    """Writes groups as row groups of `data/train-00000.parquet` and so on."""

    def __init__(self, folder: Folder, schema: pa.Schema, table: Callable[[Group], pa.Table]) -> None:
        self._folder = folder
        self._schema = schema
        self._table = table
        self._sink: HashingFile | None = None
        self._writer: pq.ParquetWriter | None = None

    def recall(self) -> int:
        """How many of the shards that were finished earlier can be built upon."""
        return len(self._folder.shards)

    def write(self, group: Group) -> None:
        """Append to the shard, or begin one."""
        if self._writer is None:
            name = f"data/train-{len(self._folder.shards):05d}.parquet"
            self._sink = HashingFile(self._folder.path(name), name)
            texts = [name for name in _leaves(self._schema) if name not in _BYTES]
            self._writer = pq.ParquetWriter(
                self._sink,
                self._schema,
                version="2.6",
                compression={name: "zstd" if name in texts else "none" for name in _leaves(self._schema)},
                use_dictionary=texts,
                write_statistics=texts,
                write_page_checksum=True,
            )
        self._writer.write_table(self._table(group), row_group_size=max(1, group.rows.num_rows))

    def close(self) -> tuple[File, ...]:
        """End the shard; its files."""
        if self._writer is None or self._sink is None:
            return ()
        self._writer.close()
        file = self._sink.done()
        self._writer = self._sink = None
        return (file,)

    def finish(self) -> tuple[File, ...]:
        """All data files of the export."""
        return tuple(file for shard in self._folder.shards for file in shard.files)


def _leaves(schema: pa.Schema) -> list[str]:
    return [
        path
        for field in schema
        for path in ([f"{field.name}.{part.name}" for part in field.type] if field.type == _CELL else [field.name])
    ]


def _nanoseconds(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Null where a time lies outside the years 1677 to 2262 that nanoseconds can tell."""
    count = pc.cast(values, pa.int64())
    most = 2**63 // 1000 - 1
    fits = pc.and_(pc.less_equal(count, most), pc.greater_equal(count, -most))
    return pc.cast(pc.if_else(fits, values, pa.scalar(None, values.type)), pa.timestamp("ns"))


def _numbers(raters: pa.ChunkedArray) -> pa.ChunkedArray:
    """Raters as whole numbers; null for those who are none."""
    plain = pc.match_substring_regex(raters, r"^(0|-?[1-9][0-9]{0,17})$")
    return pc.cast(pc.if_else(plain, raters, pa.scalar(None, pa.string())), pa.int64())
