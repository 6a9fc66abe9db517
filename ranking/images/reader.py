"""Reads the bytes of a dataset's images from the sources they were ingested from. Decodes nothing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ranking import duck
from ranking.datasets import Dataset, Source
from ranking.errors import SourceError
from ranking.store.blobs import Store

_ROWS_AT_ONCE = 64  # pictures are large; this bounds memory, not speed


class ImageReader:
    """Reads the bytes of a dataset's images from the sources they were ingested from."""

    def __init__(self, store: Store, dataset: Dataset) -> None:
        self._store = store
        self._dataset = dataset
        self._sources = {source.index: source for source in dataset.sources}

    def read(self, uids: Iterable[str]) -> dict[str, bytes | None]:
        """The bytes of each image that the dataset has; None where its source has none. Unknown uids are left
        out."""
        wanted = pa.table({"uid": pa.array(sorted(set(uids)), pa.string())})
        paths = [self._store.local(file.file) for file in self._dataset.items_files]
        if not wanted.num_rows or not paths:
            return {}
        with duck.connect() as con:
            con.register("wanted", wanted)
            first = duck.arrow(
                con,
                f"""SELECT DISTINCT ON (image_uid) image_uid, source, row_group, row, "column"
                    FROM {duck.parquet_scan(paths)} SEMI JOIN wanted ON image_uid = uid
                    ORDER BY image_uid, source, row""",
            )
        return self.read_items(first)

    def read_items(self, items: pa.Table) -> dict[str, bytes | None]:
        """The bytes of each image of an items table (columns image_uid, source, row_group, row, column), by
        uid.

        Each source is opened once, and of each row group only the image column up to the last needed row is
        read.
        """
        images: dict[str, bytes | None] = {}
        placed: set[str] = set()
        places: dict[int, dict[tuple[int, str], dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
        for item in items.select(["image_uid", "source", "row_group", "row", "column"]).to_pylist():
            images.setdefault(item["image_uid"], None)
            if item["column"] is not None and item["image_uid"] not in placed:
                placed.add(item["image_uid"])
                places[item["source"]][item["row_group"], item["column"]][item["row"]] = item["image_uid"]
        for index, groups in sorted(places.items()):
            images.update(_read_source(self._sources[index], groups))
        return images


def _read_source(source: Source, groups: dict[tuple[int, str], dict[int, str]]) -> Iterator[tuple[str, bytes | None]]:
    path = Path(source.uri)
    if not path.is_file():
        raise SourceError(f"source {source.uri} is gone", code="source-gone", hint="put it back where it was")
    if path.stat().st_size != source.bytes:
        raise SourceError(
            f"source {source.uri} has changed since it was ingested", code="source-changed", hint="restore it"
        )
    try:
        with pq.ParquetFile(path) as file:
            starts = [0]
            for group in range(file.metadata.num_row_groups):
                starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
            for (group, column), rows in sorted(groups.items()):
                yield from _read_group(file, group, column, {row - starts[group]: uid for row, uid in rows.items()})
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"source {source.uri} cannot be read ({error})", hint="check the file") from error


def _read_group(
    file: pq.ParquetFile, group: int, column: str, wanted: dict[int, str]
) -> Iterator[tuple[str, bytes | None]]:
    before, last = 0, max(wanted)
    for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, row_groups=[group], columns=[column]):
        for row in range(before, min(before + batch.num_rows, last + 1)):
            if row in wanted:
                yield wanted[row], batch.column(0)[row - before].as_py()
        before += batch.num_rows
        if before > last:
            return
