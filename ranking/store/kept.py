"""Tables that are derivable and kept under a record of their own: found whole, or removed to be made again."""

from pathlib import Path
from typing import Protocol

from ranking.errors import UNUSABLE, NotFoundError, StoreError
from ranking.names import parse_json
from ranking.store.blobs import Store
from ranking.store.parquet import DataFile


class Kept(Protocol):
    """A record of what was computed, from what, and the file that holds it."""

    @property
    def table(self) -> DataFile: ...


def kept_file(store: Store, key: str, kind: type[Kept]) -> Path | None:
    """The hashed file of the record under `key`, read strictly as a `kind`; None where there is none. What is damaged,
    the record or its file, is removed first. Raises StoreError for a store out of reach, which has damaged nothing."""
    if not store.exists(key):
        return None
    table: DataFile | None = None
    try:
        record = parse_json(store.get(key), where=key)
        table = kind(**record | {"table": DataFile(**record["table"])}).table
        return store.checked_path(table.file, table.sha256)
    except (KeyError, TypeError, NotFoundError, StoreError) as error:
        if isinstance(error, StoreError) and error.code == UNUSABLE:
            raise
    store.delete(key)
    if table is not None:
        store.delete(table.file)
    return None
