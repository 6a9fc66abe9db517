"""What an ingest wrote, for tests that look at it from the dataset's side."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ranking.datasets import get_dataset
from ranking.store.blobs import Store


def pairs_of(store: Store, name: str) -> list[dict[str, Any]]:
    return _rows(get_dataset(store, name).pairs_paths(store))


def items_of(store: Store, name: str) -> list[dict[str, Any]]:
    return _rows(get_dataset(store, name).items_paths(store))


def ratings_of(store: Store, name: str) -> list[dict[str, Any]]:
    return _rows(get_dataset(store, name).ratings_paths(store))


def _rows(paths: Any) -> list[dict[str, Any]]:
    return pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths]).to_pylist()
