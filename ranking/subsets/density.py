"""How sparse the neighbourhood of an embedding is: the logarithm of the distance to its k-th nearest neighbour, which
is what a nearest-neighbour estimate of entropy sums. Chooses nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ranking.embeddings import Embeddings, read_embeddings
from ranking.errors import StoreError, UnknownNameError, UsageError
from ranking.features.pairs import PairTable
from ranking.names import canonical_json
from ranking.store.kept import kept_file
from ranking.store.parquet import SCANNED, DataFile, put_parquet
from ranking.subsets.vectors import FLOOR, SIDE, WIDEST, on_grid, squared_distance_to

VERSION: Final = 1  # raise it when the numbers change: kept tables are then stale
EXACT: Final = 65_536
"""Up to so many points every distance is looked at."""
SAMPLE: Final = 16_384
"""Beyond that, neighbours are looked for among so many points."""

DENSITY: pa.Schema = pa.schema([("prompt_id", pa.string()), ("log_distance", pa.float64())])
"""One row per distinct prompt; log_distance is null where the prompt has no embedding."""


@dataclass(frozen=True)
class Density:
    """A table of densities as it is kept: of which snapshot, dataset and embedding, and its file."""

    dataset: str
    snapshot: str
    embedding: str
    neighbours: int
    version: int
    table: DataFile


def log_distances(
    points: Embeddings, *, neighbours: int, progress: Callable[[int, int], None] | None = None
) -> npt.NDArray[np.float64]:
    """log of the distance of each point to its `neighbours`-th nearest other point, float64 of shape (n,).

    Kozachenko and Leonenko's estimate of the entropy of n points in d dimensions is (d / n) Σ log ρ_k + log n − ψ(k) +
    log V_d: up to constants the mean of these numbers. Distances are Euclidean between embeddings of length 1 on the
    grid of `vectors`, at least FLOOR (so equal points have log FLOOR, not −∞), and their logarithms rounded to 1e-6.
    Fewer than k other points: the furthest counts; a single point has log 2, the largest distance there is.

    Exact up to EXACT points. Of more, neighbours are looked for among a sample of SAMPLE, those with the smallest
    SHA-256 of their keys: if f is its share of all, the k-th nearest of the sample is on average the (k / f)-th nearest
    of all, with a relative deviation below 1/√k (negative hypergeometric distribution).
    """
    width = points.matrix.shape[1]
    if width > WIDEST:
        raise UsageError(f"embeddings of {width} dimensions are too wide for distances", hint=f"at most {WIDEST} fit")
    grid = on_grid(points.matrix)
    own = np.arange(len(grid))
    references = grid
    if len(grid) > EXACT:
        sampled = _sample(points.keys)
        own = np.full(len(grid), -1)
        own[sampled] = np.arange(len(sampled))
        references = grid[sampled]
    squares = squared_distance_to(grid, references, k=neighbours, own=own, progress=progress)
    distances = np.where(squares < 0, 2.0, np.sqrt(np.maximum(squares, 0)) / SIDE)
    logs: npt.NDArray[np.float64] = np.rint(np.log(np.clip(distances, FLOOR, 2.0)) * 1e6) / 1e6
    return logs


def prompt_density(
    table: PairTable, embedding: str, *, neighbours: int = 10, progress: Callable[[int, int], None] | None = None
) -> pa.Table:
    """log of the distance of every prompt of the dataset to its `neighbours`-th nearest other prompt: the DENSITY
    schema, in the order of first appearance.

    Computed once for each snapshot, dataset, embedding and `neighbours`, and kept. `log_distances` has the formula.
    UnknownNameError for an embedding that the snapshot does not have.
    """
    if embedding not in table.embeddings:
        raise UnknownNameError.among("embedding", embedding, table.embeddings)
    if neighbours < 1:
        raise UsageError(f"there is no neighbour number {neighbours}", hint="ask for 1 or more")
    sha = table.snapshot.sha[:16]
    key = f"density/{sha}/{table.dataset}.{embedding}.{neighbours}.v{VERSION}.json"
    found = kept_file(table.store, key, Density)
    if found is None:
        points = read_embeddings(table.store, table.snapshot, table.dataset, embedding, kind="prompt")
        logs = log_distances(points, neighbours=neighbours, progress=progress)
        rows = pa.table(
            [[*points.keys, *points.missing], [*logs.tolist(), *([None] * len(points.missing))]], schema=DENSITY
        )
        file = put_parquet(table.store, f"density/{sha}", DENSITY, rows.to_batches(), layout=SCANNED)
        kept = Density(table.dataset, table.snapshot.sha, embedding, neighbours, VERSION, file)
        table.store.put_if_absent(key, canonical_json(asdict(kept)))
        found = kept_file(table.store, key, Density)
    if found is None:
        raise StoreError(f"{key} was damaged while it was built", code="damaged", hint="try again")
    return pq.read_table(found, partitioning=None)


def _sample(keys: Sequence[str]) -> npt.NDArray[np.int64]:
    hashed = [sha256(key.encode()).digest() for key in keys]
    return np.array(sorted(sorted(range(len(keys)), key=hashed.__getitem__)[:SAMPLE]))
