"""Subsets on the shelf: the pairs of those asked for lately, and their files ready to send. Makes no
subset."""

from __future__ import annotations

import json
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

import pyarrow as pa

from ranking.names import sha256_file
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset, subset_pairs

_KEPT: Final = 4
_JSONL_ROWS: Final = 4096
_ARROW_ROWS: Final = 65_536


class SubsetShelf:
    """Keeps the last few subsets' pairs in memory, and JSON Lines and Arrow files of them in a folder that ends with
    the app."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables: OrderedDict[str, pa.Table] = OrderedDict()
        self._checked: set[str] = set()
        self._jsonl: dict[str, tuple[Path, str]] = {}
        self._arrow: dict[str, tuple[Path, str]] = {}
        self._turn = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="pairsieve-")

    def close(self) -> None:
        """Remove the files that were made."""
        self._folder.cleanup()

    def pairs(self, subset: Subset) -> pa.Table:
        """The subset's pairs, best first; rank r is row r − 1."""
        with self._turn:
            if subset.sha256 not in self._tables:
                self._tables[subset.sha256] = subset_pairs(self._store, subset)
                while len(self._tables) > _KEPT:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(subset.sha256)
            return self._tables[subset.sha256]

    def parquet(self, subset: Subset) -> tuple[Path, str]:
        """The subset's file and its SHA-256; its bytes are hashed the first time."""
        with self._turn:
            if subset.sha256 not in self._checked:
                self._store.checked_path(subset.pairs_key, subset.sha256)
                self._checked.add(subset.sha256)
        return self._store.local(subset.pairs_key), subset.sha256

    def jsonl(self, subset: Subset) -> tuple[Path, str]:
        """The same rows as JSON Lines (UTF-8, keys in column order) and the file's SHA-256."""
        table = self.pairs(subset)
        with self._turn:
            if subset.sha256 not in self._jsonl:
                path = Path(self._folder.name) / f"{subset.sha256}.jsonl"
                with path.open("w", encoding="utf-8") as file:
                    for batch in table.to_batches(max_chunksize=_JSONL_ROWS):
                        for row in batch.to_pylist():
                            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
                self._jsonl[subset.sha256] = path, sha256_file(path)
            return self._jsonl[subset.sha256]

    def arrow(self, subset: Subset) -> tuple[Path, str]:
        """The same rows as an Arrow IPC stream and the file's SHA-256."""
        table = self.pairs(subset)
        with self._turn:
            if subset.sha256 not in self._arrow:
                path = Path(self._folder.name) / f"{subset.sha256}.arrows"
                with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
                    stream.write_table(table, max_chunksize=_ARROW_ROWS)
                self._arrow[subset.sha256] = path, sha256_file(path)
            return self._arrow[subset.sha256]
