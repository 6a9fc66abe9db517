"""Diversity re-ranking: the order in which a recipe takes its candidates when they should not be all alike. Computes no
quality and takes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ranking.embeddings import EmbeddedKind, read_embeddings
from ranking.errors import UsageError
from ranking.features.pairs import PairTable
from ranking.subsets.density import log_distances, prompt_density
from ranking.subsets.facility import DENSE, locate, similarities
from ranking.subsets.vectors import WIDEST, centre, on_grid

if TYPE_CHECKING:
    from ranking.subsets.recipe import Diversity

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is, and of how much."""

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reranked:
    """A pool in another order: `order` holds its positions, the first to be taken first. For each position: `diversity`
    as it counts in the objective, and `raw`, what that comes from: the log distance of knn-entropy, the share of
    coverage that facility-location gains by it. A pair without an embedding has NaN there and a diversity of 0.
    `report` says how it went, in numbers."""

    order: npt.NDArray[np.int64]
    diversity: _Floats
    raw: _Floats
    report: dict[str, Any]


def pool_size(wanted: Diversity, *, take: int, available: int) -> int:
    """How many of the best candidates are looked at: pool × take, rounded up."""
    return min(available, math.ceil(Decimal(str(wanted.pool)) * take))


def rerank(
    pool: pa.Table, wanted: Diversity, *, table: PairTable, take: int, seed: int = 0, progress: Progress | None = None
) -> Reranked:
    """The order in which `take` pairs are to be taken from a pool, which comes best first with the columns prompt_id
    and winner_uid.

    Both methods place by (1 − weight) · quality + weight · diversity, and prefer the better pair among equals. A pair
    whose prompt or winner has no embedding has the diversity 0: quality alone can bring it in.

    knn-entropy: a fixed importance for each pair, as in FiFA (Yang et al. 2024; a reconstruction, as only the abstract
    could be read). Quality is the share of the pool that is worse, diversity the share whose log distance to the
    `neighbours`-th nearest other embedding is smaller, each with half of what is equal, so that both are spread evenly
    between 0 and 1. Pairs of one prompt (or winner) are at no distance from each other, so only the best of them counts
    with its distance; the second best of all prompts come below all best ones, then the third, and so on. Without this,
    which is ours, the pairs of a few rare prompts would fill the subset. Prompts are compared with all prompts of the
    dataset, winners with the winners of the pool (`density.log_distances` says what is exact and what is bounded).

    facility-location: chosen one after the other, so that a pair like those taken before gains little.
    Quality is the share that the chosen have of the quality (share of the pool that is worse) of the best `take`;
    diversity the mean over the pool of the largest similarity, max(0, cos) of embeddings whose mean was taken away, to
    one that was chosen. Exact greedy, so at least 1 − 1/e of the best objective, up to facility.DENSE distinct
    embeddings; of more, similarities between those that lie far apart count as zero (`facility.similarities`), which
    can only make the objective smaller: what the report says was reached is reached, and no choice can exceed 1. Pairs
    that were not chosen follow in their old order.

    The same on every machine and with any number of threads: all sums are of whole numbers. UnknownNameError for an
    embedding that the snapshot does not have.
    """
    keys, spots = _distinct(pool["prompt_id" if wanted.of == "prompt" else "winner_uid"])
    if wanted.method == "knn-entropy":
        return _by_entropy(keys, spots, wanted, table=table, progress=progress)
    if progress is not None:
        progress("comparing embeddings", 0, len(keys))
    found = read_embeddings(table.store, table.snapshot, table.dataset, wanted.embedding, kind=_kind(wanted), keys=keys)
    if found.matrix.shape[1] > WIDEST:
        raise UsageError(f"embedding {wanted.embedding} is too wide for distances", hint=f"at most {WIDEST} fit")
    embedding = _places(keys, found.keys)[spots]
    counts = np.bincount(embedding[embedding >= 0], minlength=len(found.keys))
    similar = similarities(centre(on_grid(found.matrix), counts), seed=seed)
    located = locate(
        similar,
        embedding,
        take=take,
        weight=wanted.weight,
        progress=None if progress is None else lambda done, of: progress("choosing", done, of),
    )
    waiting = np.ones(len(spots), bool)
    waiting[located.order] = False
    report = {
        **_report(wanted, pool=len(spots), keys=len(keys), without=int((embedding < 0).sum())),
        "quality": located.quality,
        "coverage": located.coverage,
        "objective": located.objective,
        "exact": len(found.keys) <= DENSE,
        "left_out_at_most": located.left_out,
    }
    raw = np.where(embedding >= 0, located.gains, np.nan)
    return Reranked(np.concatenate([located.order, np.flatnonzero(waiting)]), located.gains, raw, report)


def _by_entropy(
    keys: list[str], spots: npt.NDArray[np.int64], wanted: Diversity, *, table: PairTable, progress: Progress | None
) -> Reranked:
    told = None if progress is None else lambda done, of: progress("measuring distances", done, of)
    if wanted.of == "prompt":
        density = prompt_density(table, wanted.embedding, neighbours=wanted.neighbours, progress=told)
        known = density.filter(pc.is_valid(density["log_distance"]))
        names, logs = known["prompt_id"].to_pylist(), known["log_distance"].to_numpy()
    else:
        found = read_embeddings(
            table.store, table.snapshot, table.dataset, wanted.embedding, kind=_kind(wanted), keys=keys
        )
        names, logs = list(found.keys), log_distances(found, neighbours=wanted.neighbours, progress=told)
    raw = np.append(logs, np.nan)[_places(keys, names)][spots]
    n = len(spots)
    good = np.isfinite(raw)
    # By number within the prompt, then by distance, as one whole number; those without an embedding below all.
    levels, level = np.unique(raw[good], return_inverse=True)
    key = np.full(n, np.iinfo(np.int64).min)
    key[good] = level - _numbers(spots)[good] * (len(levels) + 1)
    # Twice the number of pairs that are worse, an equal one counting half: whole numbers.
    ordered = np.sort(key[good])
    sides = [np.searchsorted(ordered, key, side=side) for side in ("left", "right")]
    diversity = np.where(good, (sides[0] + sides[1] + 2 * (n - len(ordered))) / (2 * max(n, 1)), 0.0)
    quality = (2 * (n - 1 - np.arange(n)) + 1) / (2 * max(n, 1))
    value = (1 - wanted.weight) * quality + wanted.weight * diversity
    report = _report(wanted, pool=n, keys=len(keys), without=int((~good).sum()))
    return Reranked(np.argsort(-value, kind="stable"), diversity, raw, report)


def _numbers(spots: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each row how many rows before it have the same spot."""
    order = np.argsort(spots, kind="stable")
    ordered = spots[order]
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(spots) else order
    numbers = np.empty(len(spots), np.int64)
    numbers[order] = np.arange(len(spots)) - np.repeat(first, np.diff(np.append(first, len(spots))))
    return numbers


def _kind(wanted: Diversity) -> EmbeddedKind:
    return "prompt" if wanted.of == "prompt" else "image"


def _report(wanted: Diversity, *, pool: int, keys: int, without: int) -> dict[str, Any]:
    return {"method": wanted.method, "pool": pool, "distinct": keys, "without_embedding": without}


def _distinct(column: pa.ChunkedArray) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The distinct values in the order of their first appearance, and for each row which one it has."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _places(keys: list[str], names: list[str] | tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Where each key is among the names, −1 if it is not."""
    found = pc.index_in(pa.array(keys, pa.string()), value_set=pa.array(names, pa.string()))
    places: npt.NDArray[np.int64] = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return places
