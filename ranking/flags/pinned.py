"""What a snapshot saw of the flags: the marks and take-downs that stood, as tables whose hash it records. So a recipe
over an old snapshot means the same whatever was flagged since."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ranking.errors import StoreError
from ranking.flags.book import MARKS, read_book, standing
from ranking.flags.records import FLAGS, TAKEDOWNS, flag_folder
from ranking.flags.takedowns import TAKEN, standing_takedowns
from ranking.store.blobs import Store
from ranking.store.parquet import write_parquet, writing


@dataclass(frozen=True)
class Pinned:
    """A table that stood: how many rows, and the hash of what they say (`content_sha`), which also names its file."""

    count: int
    sha: str


@dataclass(frozen=True)
class FlagsPin:
    """The standing marks of each dataset that has any, and the standing take-downs if there are any."""

    marks: dict[str, Pinned]
    takedowns: Pinned | None

    def content(self) -> dict[str, Any]:
        """What a snapshot's hash covers."""
        return asdict(self)

    @classmethod
    def parse(cls, value: Any) -> "FlagsPin":
        """The pin of a snapshot's record; KeyError or TypeError where it is none."""
        takedowns = value["takedowns"]
        marks = {name: Pinned(**pinned) for name, pinned in value["marks"].items()}
        return cls(marks, Pinned(**takedowns) if takedowns is not None else None)


def pin_flags(store: Store, datasets: list[str]) -> FlagsPin | None:
    """Keep what stands now for these datasets, and say what it is; None where nothing does."""
    flagged = set(store.children(FLAGS))
    marks = {}
    for name in datasets:
        table = standing(store, read_book(store, name)) if name in flagged else MARKS.empty_table()
        if table.num_rows:
            marks[name] = _keep(store, _marks_folder(name), table)
    taken = standing_takedowns(store)
    takedowns = _keep(store, _TAKEN_FOLDER, taken) if taken.num_rows else None
    return FlagsPin(marks, takedowns) if marks or takedowns else None


def pinned_marks(store: Store, pin: FlagsPin | None, dataset: str) -> pa.Table:
    """The marks (MARKS) that a snapshot saw of a dataset; StoreError if they are lost or damaged."""
    pinned = pin.marks.get(dataset) if pin else None
    return _read(store, _marks_folder(dataset), pinned, MARKS)


def pinned_takedowns(store: Store, pin: FlagsPin | None) -> pa.Table:
    """The take-downs (TAKEN) that a snapshot saw; StoreError if they are lost or damaged."""
    return _read(store, _TAKEN_FOLDER, pin.takedowns if pin else None, TAKEN)


def flaws_of(store: Store, pin: FlagsPin | None) -> list[str]:
    """What is wrong with the files of a snapshot's pin, one line each."""
    if pin is None:
        return []
    flaws = []
    wanted = [(_marks_folder(name), pinned, MARKS) for name, pinned in pin.marks.items()]
    for folder, pinned, schema in [*wanted, *([(_TAKEN_FOLDER, pin.takedowns, TAKEN)] if pin.takedowns else [])]:
        try:
            _read(store, folder, pinned, schema)
        except StoreError as error:
            flaws.append(error.message)
    return flaws


def content_sha(table: pa.Table) -> str:
    """SHA-256 over what a table of texts says, column by column: name, the length of every text in bytes (int32, little
    end first; −1 for null), then the texts. The same with every version of pyarrow, unlike a file's."""
    digest = hashlib.sha256()
    for name in table.column_names:
        texts = pa.concat_arrays([pa.array([], pa.string()), *table[name].chunks])
        ends = np.frombuffer(texts.buffers()[1] or bytes(4), np.int32)[: len(texts) + 1]
        lengths = np.diff(ends).astype("<i4")
        lengths[texts.is_null().to_numpy(zero_copy_only=False)] = -1
        digest.update(name.encode() + b"\n")
        digest.update(lengths.tobytes())
        digest.update(memoryview(texts.buffers()[2] or b"")[: int(ends[-1]) if len(ends) else 0])
    return digest.hexdigest()


_TAKEN_FOLDER = f"{TAKEDOWNS}/standing"


def _marks_folder(dataset: str) -> str:
    return f"{flag_folder(dataset)}/standing"


def _key(folder: str, pinned: Pinned) -> str:
    return f"{folder}/{pinned.sha}.parquet"


def _keep(store: Store, folder: str, table: pa.Table) -> Pinned:
    pinned = Pinned(table.num_rows, content_sha(table))
    key = _key(folder, pinned)
    if not store.exists(key):
        with writing(store, key) as path:
            write_parquet(path, table.schema, table.to_batches())
            store.put_file(key, path)
    return pinned


def _read(store: Store, folder: str, pinned: Pinned | None, schema: pa.Schema) -> pa.Table:
    if pinned is None:
        return schema.empty_table()
    key = _key(folder, pinned)
    hint = "restore it from a copy of the store"
    if not store.exists(key):
        raise StoreError(f"{key} is missing from the store", code="damaged", hint=hint)
    try:
        table = pq.read_table(store.local(key), partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{key} cannot be read ({error})", code="damaged", hint=hint) from error
    if not table.schema.equals(schema) or table.num_rows != pinned.count or content_sha(table) != pinned.sha:
        raise StoreError(f"{key} is damaged: it does not say what its name says", code="damaged", hint=hint)
    return table
