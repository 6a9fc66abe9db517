"""Reads the embeddings that a snapshot holds: unit by unit, or as a matrix with a row for each image or prompt.
Computes none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking.errors import StoreError, UnknownNameError
from ranking.features.assemble import UNSCORED
from ranking.features.wide import pinned_dataset
from ranking.schema import EMBEDDING_PREFIX, OK
from ranking.store.blobs import Store
from ranking.store.shards import EMBEDDING_SHARD, IMAGE, kind_of, vectors_of
from ranking.store.snapshots import Member, Snapshot, fullest_ids

EmbeddedKind = Literal["image", "prompt"]

_NOTHING = EMBEDDING_SHARD.schema.empty_table().select(["key", "status"])


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of images or prompts: `keys` (n image_uids or prompt_ids, no two equal), `matrix` float16 of shape
    (n, d) whose rows have length 1 within float16, and for each key without an embedding its status in `missing`
    ("unscored" if nothing is committed for it). Where there is no embedding at all, d is 0."""

    keys: tuple[str, ...]
    matrix: npt.NDArray[np.float16]
    missing: dict[str, str]


def embedding_names(snapshot: Snapshot) -> dict[str, str]:
    """The embeddings of a snapshot, without the prefix of their ids, and the id that each name stands for: as with
    scorers the one with most rows. For example {"clip-l14": "embedding-clip-l14@0123456789ab"}."""
    embedded = (member for member in snapshot.members if kind_of(member.scorer_id) is EMBEDDING_SHARD)
    return {name.removeprefix(EMBEDDING_PREFIX): chosen for name, chosen in fullest_ids(embedded).items()}


def has_embedded(store: Store, snapshot: Snapshot, dataset: str, name: str) -> bool:
    """Whether the embedding looked at any of the dataset's images and prompts. Raises what `read_embeddings` does."""
    return bool(_members(store, snapshot, dataset, name))


def embedded_units(
    store: Store, snapshot: Snapshot, dataset: str, name: str, *, kind: EmbeddedKind
) -> Iterator[Embeddings]:
    """The embeddings of a dataset unit by unit, in the order of its slices: a few megabytes at a time. A key that
    several units show comes with each of them. Errors are those of `read_embeddings`."""
    for member in _members(store, snapshot, dataset, name):
        path = store.checked_path(member.file, member.sha256)
        table = _read(path, kind, ["key", "embedding", "status"])
        keys, statuses = table["key"], table["status"]
        good = pc.equal(statuses, OK)
        missing = pc.invert(good)
        yield Embeddings(
            tuple(keys.filter(good).to_pylist()),
            vectors_of(table["embedding"].combine_chunks()),
            dict(zip(keys.filter(missing).to_pylist(), statuses.filter(missing).to_pylist(), strict=True)),
        )


def read_embeddings(
    store: Store, snapshot: Snapshot, dataset: str, name: str, *, kind: EmbeddedKind, keys: Sequence[str] | None = None
) -> Embeddings:
    """The embeddings of the dataset's images or prompts: those of `keys` in their order, each once, or of all in the
    order of first appearance. Of a key that several units have, the first embedding counts.

    Memory is that of the result (n × d × 2 bytes) and one unit. Raises UnknownNameError for an embedding that the
    snapshot does not have, NotFoundError if it does not have the dataset, StoreError for a file that is damaged or of
    another dimension than the one before.
    """
    members = _members(store, snapshot, dataset, name)
    paths = store.checked_paths((member.file, member.sha256) for member in members)
    units = [_read(path, kind, ["key", "status"]) for path in paths]
    # Looked up once for all units: a search for each would build an index of all keys each time.
    table = pa.concat_tables([_NOTHING, *units])
    wanted = pc.unique(table["key"] if keys is None else pa.array(keys, pa.string()))
    spot = pc.fill_null(pc.index_in(table["key"].combine_chunks(), wanted), -1).to_numpy()
    statuses = _statuses(spot, table["status"].to_numpy(), len(wanted))
    known = np.flatnonzero(statuses == OK)
    place = np.full(len(wanted) + 1, -1)  # the last, which -1 finds, stays -1
    place[known] = np.arange(len(known))
    matrix = np.zeros((len(known), 0), np.float16)
    filled = np.zeros(len(known) + 1, bool)
    done = 0
    for member, path, unit in zip(members, paths, units, strict=True):
        part = slice(done, done + unit.num_rows)
        done = part.stop
        good = pc.equal(unit["status"], OK).to_numpy()
        rows = place[spot[part][good]]
        vectors = vectors_of(_read(path, kind, ["embedding"])["embedding"].combine_chunks())
        new = (rows >= 0) & ~filled[rows]
        if not new.any():
            continue
        if not matrix.shape[1]:
            matrix = np.empty((len(known), vectors.shape[1]), np.float16)
        if matrix.shape[1] != vectors.shape[1]:
            sizes = f"{vectors.shape[1]} dimensions, others of {member.scorer_id} {matrix.shape[1]}"
            raise StoreError(f"{member.file} has {sizes}", code="damaged", hint="score the unit again")
        matrix[rows[new]] = vectors[new]
        filled[rows[new]] = True
    absent = np.flatnonzero(statuses != OK)
    missing = dict(zip(wanted.take(pa.array(absent)).to_pylist(), statuses[absent].tolist(), strict=True))
    return Embeddings(tuple(wanted.take(pa.array(known)).to_pylist()), matrix, missing)


def _statuses(spot: npt.NDArray[np.int32], said: npt.NDArray[np.object_], keys: int) -> npt.NDArray[np.object_]:
    """What becomes of each of `keys` keys, from what rows say of the key at their `spot` (−1: none of them): "ok" if
    any row does, else what the first says, UNSCORED if there is none."""
    statuses = np.full(keys, UNSCORED, dtype=object)
    good = said == OK
    for chosen in (~good & (spot >= 0), good & (spot >= 0)):
        statuses[spot[chosen][::-1]] = said[chosen][::-1]
    return statuses


def _members(store: Store, snapshot: Snapshot, dataset: str, name: str) -> list[Member]:
    known = embedding_names(snapshot)
    if name not in known:
        raise UnknownNameError.among("embedding", name, known)
    pinned = pinned_dataset(store, snapshot, dataset)
    by_unit = {member.unit: member for member in snapshot.members if member.scorer_id == known[name]}
    return [by_unit[piece.unit] for piece in pinned.slices if piece.unit in by_unit]


def _read(path: Path, kind: EmbeddedKind, columns: Sequence[str]) -> pa.Table:
    # Not read_table, which would take the folder's name for a column and needs longer to open a small file.
    with pq.ParquetFile(path) as file:
        table = file.read([*columns, "kind"], use_threads=False)
    images = pc.sum(pc.equal(table["kind"], IMAGE)).as_py() or 0  # they come first
    return table.select(list(columns)).slice(*((0, images) if kind == IMAGE else (images,)))
