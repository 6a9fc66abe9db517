"""Images that lie in the cells of a Parquet file beside the judgements: what they are called and where they are.
Decodes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ranking.ingest.adapters.base import Options
from ranking.ingest.adapters.parquet import Batch
from ranking.ingest.adapters.paths import beneath, folder_of, is_address, is_bad_path

ROWS: Final = 64  # read at once where images are read: a row holds a megabyte or two


@dataclass(frozen=True)
class Pictures:
    """One image of every row of a batch: its uid and its pointer, and whether its path may not be followed."""

    uids: pa.Array
    places: Mapping[str, pa.Array]
    bad_path: pa.Array

    def side(self, side: int) -> dict[str, pa.Array]:
        """The columns of JUDGEMENTS that these are for image 0 or image 1."""
        return {f"image_{side}_uid": self.uids, **{f"{name}_{side}": value for name, value in self.places.items()}}


def pictures(batch: Batch, name: str, options: Options) -> Pictures:
    """The images of a column of bytes, of paths or addresses, or of the hub's {bytes, path}.

    Bytes are called by the first 32 hex digits of their SHA-256, as the names that the hub keeps are not unique (it
    cuts off folders); what has no bytes by its path or address.
    """
    values = batch.columns.column(name)
    inner = [field.name for field in values.type] if pa.types.is_struct(values.type) else []
    if inner:
        data = _part(batch, name, "bytes", inner, pa.binary())
        paths = _part(batch, name, "path", inner, pa.string())
    elif pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        data, paths = pa.nulls(len(values), pa.binary()), batch.text(name)
    else:
        data = batch.column(name, lambda cells: pc.cast(cells, pa.binary()), pa.binary())
        paths = pa.nulls(len(values), pa.string())
    column = f"{name}.bytes" if inner else name
    embedded = pc.fill_null(pc.greater(pc.binary_length(data), 0), False)
    address = pc.fill_null(is_address(paths), False)
    files = pc.if_else(address, paths, beneath(folder_of(batch.file, options), paths))
    nowhere = pa.scalar(None, pa.string())
    return Pictures(
        pc.if_else(embedded, _digests(data), paths),
        {
            "row_group": pc.if_else(embedded, batch.row_groups, pa.scalar(None, pa.int32())),
            "row": pc.if_else(embedded, batch.rows, pa.scalar(None, pa.int64())),
            "column": pc.if_else(embedded, pa.scalar(column), nowhere),
            "file": pc.if_else(embedded, nowhere, files),
        },
        pc.and_not(pc.and_not(pc.fill_null(is_bad_path(paths), False), address), embedded),
    )


def pictured(*, uids: pa.Array, files: pa.Array, bad_path: pa.Array) -> Pictures:
    """Images that are files of their own."""
    rows = len(uids)
    nowhere = {
        "row_group": pa.nulls(rows, pa.int32()),
        "row": pa.nulls(rows, pa.int64()),
        "column": pa.nulls(rows, pa.string()),
    }
    return Pictures(uids, {**nowhere, "file": files}, bad_path)


def _part(batch: Batch, name: str, part: str, known: list[str], kind: pa.DataType) -> pa.Array:
    if part not in known:
        return pa.nulls(batch.columns.num_rows, kind)
    return batch.column(name, lambda cells: pc.cast(pc.struct_field(cells, part), kind), kind)


def _digests(data: pa.Array) -> pa.Array:
    texts = [sha256(value.as_buffer()).hexdigest()[:32] if value.is_valid else None for value in data]
    return pa.array(texts, pa.string())
