"""Builds the wide table: streams through the pairs and puts beside each what is known of it, its images and its
labels. Everything joins by position, so nothing is looked up. Decides no caching."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking.datasets import Dataset
from ranking.features.flagged import FLAG_COLUMNS, PairMarks, id_numbers, pair_marks, shown_items
from ranking.features.items import ItemFacts, ItemScores, image_numbers, item_facts, item_ratings, item_scores
from ranking.features.tallies import Tally, tally
from ranking.graph.label_graph import label_graph
from ranking.images.facts import FACTS_ID
from ranking.schema import LABEL_GRAPH, OK, PAIRS, STATUSES
from ranking.store.blobs import Store
from ranking.store.parquet import SCANNED, DataFile, put_parquet
from ranking.store.snapshots import Member, Snapshot

TEXT = pa.dictionary(pa.int32(), pa.string())
REPEATED = ("prompt_id", "prompt", "rater", "model_0", "model_1", "prompt_cluster")
"""Texts that occur again and again: read and written as dictionaries, which spares spelling them out."""


def _columns(schema: pa.Schema, *, without: tuple[str, ...] = ()) -> tuple[pa.Field, ...]:
    kept = (field for field in schema if field.name not in without)
    return tuple(field.with_type(TEXT) if field.name in REPEATED else field for field in kept)


PAIR_COLUMNS = _columns(PAIRS, without=("item_0", "item_1"))
GRAPH_COLUMNS = _columns(LABEL_GRAPH)
FACT_COLUMNS = (
    pa.field("width_0", pa.int32()),
    pa.field("height_0", pa.int32()),
    pa.field("width_1", pa.int32()),
    pa.field("height_1", pa.int32()),
    pa.field("same_bytes", pa.bool_()),
    pa.field("phash_distance", pa.int32()),
    pa.field("image_copies_0", pa.int32()),
    pa.field("image_copies_1", pa.int32()),
    pa.field("image_cluster_0", pa.int32()),
    pa.field("image_cluster_1", pa.int32()),
    pa.field("image_cluster_size_0", pa.int32()),
    pa.field("image_cluster_size_1", pa.int32()),
)
UNSCORED = "unscored"
_WORDS = pa.array([*STATUSES, UNSCORED])
_ROWS = 65_536
_THREADS = 2

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Assembled:
    """The table in the store, the usual range of each scorer (its 1st and 99th percentile), how each fared, and the
    kinds of ratings."""

    table: DataFile
    scales: dict[str, tuple[float, float]]
    tallies: dict[str, Tally]
    ratings: tuple[str, ...]


def assemble(store: Store, snapshot: Snapshot, dataset: Dataset, *, folder: str) -> Assembled:
    """Build the table of one dataset of the snapshot under `folder`. StoreError if a file it reads is damaged."""
    members = _by_scorer(snapshot, dataset)
    paths = dataset.pairs_paths(store)
    ends = _Ends.read(paths, shown_items(store, snapshot, dataset, members.get(FACTS_ID, [])))
    scored = _scored(store, dataset, members, snapshot.scorers, ends)
    facts = item_facts(store, dataset, members.get(FACTS_ID, []))
    ratings = item_ratings(store, dataset)
    marks = pair_marks(store, snapshot, dataset.name, ends.ids)
    graph = label_graph(store, dataset)
    beside = store.local(graph.pairs.file)
    table = put_parquet(
        store,
        folder,
        wide_schema(snapshot.scorers, list(ratings)),
        _one_ahead(_rows(paths, beside, ends, scored, facts, ratings, marks)),
        layout=SCANNED,
    )
    scales = {name: found.scale for name, found in scored.items() if found.scale}
    tallies = {name: found.tally for name, found in scored.items()}
    return Assembled(table, scales, tallies, tuple(ratings))


def tallies(store: Store, snapshot: Snapshot, dataset: Dataset) -> dict[str, Tally]:
    """How each scorer of the snapshot fared with the dataset, from the scores alone: no table is built."""
    members = _by_scorer(snapshot, dataset)
    return {
        name: _tally(store, dataset, item_scores(store, dataset, members.get(scorer_id, [])))
        for name, scorer_id in snapshot.scorers.items()
    }


@dataclass(frozen=True)
class _Scored:
    """A scorer's scores of the items, its ranks of the pairs, how it fared, and its usual range if it has any score."""

    scores: ItemScores
    ranks: npt.NDArray[np.int32]
    tally: Tally
    scale: tuple[float, float] | None


def _scored(
    store: Store,
    dataset: Dataset,
    members: Mapping[str, Sequence[Member]],
    scorers: Mapping[str, str],
    ends: "_Ends",
) -> dict[str, _Scored]:
    """What each scorer says, by its name; one scorer's files are read while another's gaps are ranked."""

    def one(name: str) -> _Scored:
        found = item_scores(store, dataset, members.get(scorers[name], []))
        return _Scored(found, ends.rank(found), _tally(store, dataset, found), _scale(found))

    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(scorers, pool.map(one, scorers), strict=True))


def wide_schema(scorers: Sequence[str] | Mapping[str, str], ratings: Sequence[str]) -> pa.Schema:
    """The columns of a wide table. Every scorer of the snapshot has its columns in every dataset's."""
    columns = [*PAIR_COLUMNS, *FLAG_COLUMNS, *GRAPH_COLUMNS, *FACT_COLUMNS]
    for name in ratings:
        columns += [pa.field(f"rating.{name}.{part}", pa.float64()) for part in ("0", "1", "gap")]
    for name in scorers:
        columns += [
            pa.field(f"{name}.0", pa.float32()),
            pa.field(f"{name}.1", pa.float32()),
            pa.field(f"{name}.gap", pa.float64()),
            pa.field(f"{name}.rank", pa.int32()),
            pa.field(f"{name}.status_0", pa.string()),
            pa.field(f"{name}.status_1", pa.string()),
        ]
    return pa.schema([*columns, pa.field("votes", pa.int32()), pa.field("agree_votes", pa.int32())])


@dataclass(frozen=True)
class _Ends:
    """The two items of every pair (int64 of shape (pairs,)), its winner (int8, −1 for ties), its pair_id as a number,
    and whether both images may be shown (None where all may): other pairs have no row."""

    item_0: Int
    item_1: Int
    winner: npt.NDArray[np.int8]
    ids: npt.NDArray[np.uint64]
    shown: npt.NDArray[np.bool_] | None

    @classmethod
    def read(cls, paths: Sequence[Path], items_shown: npt.NDArray[np.bool_] | None) -> "_Ends":
        columns = ["item_0", "item_1", "winner", "pair_id"]
        table = pa.concat_tables([pq.read_table(path, columns=columns, partitioning=None) for path in paths])
        first, second = table["item_0"].to_numpy(), table["item_1"].to_numpy()
        return cls(
            first,
            second,
            pc.fill_null(table["winner"], -1).to_numpy(),
            np.concatenate([np.zeros(0, np.uint64), *map(id_numbers, table["pair_id"].chunks)]),
            items_shown[first] & items_shown[second] if items_shown is not None else None,
        )

    def gap(self, values: npt.NDArray[np.floating[Any]], part: slice = slice(None)) -> Float:
        """Winner − loser in float64, NaN for ties and where a value is missing."""
        winner = self.winner[part]
        first = values[self.item_0[part]].astype(np.float64)
        second = values[self.item_1[part]].astype(np.float64)
        return np.where(winner < 0, np.nan, np.where(winner == 0, first - second, second - first))

    def rank(self, scores: ItemScores) -> npt.NDArray[np.int32]:
        """1 for the largest gap, equal ones by pair_id; 0 where there is none."""
        gap = self.gap(scores.values)
        if self.shown is not None:
            gap = np.where(self.shown, gap, np.nan)
        have = np.flatnonzero(~np.isnan(gap))
        falling = -gap[have]
        order = np.argsort(falling)
        # Sorting by two keys takes many times as long, and equal gaps are few.
        equal = np.flatnonzero(np.diff(falling[order]) == 0)
        if len(equal):
            tied = np.union1d(equal, equal + 1)
            among = order[tied]
            order[tied] = among[np.lexsort((self.ids[have[among]], falling[among]))]
        ranks = np.zeros(len(gap), np.int32)
        ranks[have[order]] = np.arange(1, len(order) + 1)
        return ranks


def _rows(
    paths: Sequence[Path],
    beside: Path,
    ends: _Ends,
    scored: Mapping[str, _Scored],
    facts: ItemFacts | None,
    ratings: Mapping[str, Float],
    marks: PairMarks,
) -> Iterator[pa.RecordBatch]:
    schema = wide_schema(list(scored), list(ratings))
    done = 0
    for pairs, graph in _side_by_side(_batches(paths, PAIRS), _batches([beside], LABEL_GRAPH)):
        part = slice(done, done + pairs.num_rows)
        done = part.stop
        first, second = ends.item_0[part], ends.item_1[part]
        columns: list[pa.Array] = [pairs[field.name] for field in PAIR_COLUMNS]
        columns += marks.columns(part)
        columns += [graph[field.name] for field in GRAPH_COLUMNS]
        columns += _fact_columns(facts, first, second)
        for values in ratings.values():
            columns += [_nullable(values[first]), _nullable(values[second]), _nullable(ends.gap(values, part))]
        votes, agree = np.zeros(len(first), np.int32), np.zeros(len(first), np.int32)
        for each in scored.values():
            found, rank = each.scores, each.ranks[part]
            gap = ends.gap(found.values, part)
            votes += np.abs(gap) > 0  # not so for NaN
            agree += gap > 0
            columns += [
                _nullable(found.values[first]),
                _nullable(found.values[second]),
                _nullable(gap),
                pa.array(rank, mask=rank == 0),
                _statuses(found.status[first]),
                _statuses(found.status[second]),
            ]
        batch = pa.RecordBatch.from_arrays([*columns, pa.array(votes), pa.array(agree)], schema=schema)
        yield batch if ends.shown is None else batch.filter(pa.array(ends.shown[part]))


def _batches(paths: Sequence[Path], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    repeated = [name for name in schema.names if name in REPEATED]
    for path in paths:
        with pq.ParquetFile(path, read_dictionary=repeated, pre_buffer=False) as file:
            yield from file.iter_batches(batch_size=_ROWS)


def _side_by_side(
    left: Iterator[pa.RecordBatch], right: Iterator[pa.RecordBatch]
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Two streams of as many rows, cut into batches that have the same rows."""
    mine, other = next(left, None), next(right, None)
    while mine is not None and other is not None:
        rows = min(mine.num_rows, other.num_rows)
        if rows:
            yield mine.slice(0, rows), other.slice(0, rows)
        mine, other = mine.slice(rows), other.slice(rows)
        mine = mine if mine.num_rows else next(left, None)
        other = other if other.num_rows else next(right, None)


def _fact_columns(facts: ItemFacts | None, first: Int, second: Int) -> list[pa.Array]:
    if facts is None:
        return [_nothing(len(first), field.type) for field in FACT_COLUMNS]
    both = facts.known[first] & facts.known[second]
    content = facts.bytes_id[first], facts.bytes_id[second]
    columns = {
        "same_bytes": pa.array(content[0] == content[1], mask=(content[0] < 0) | (content[1] < 0)),
        "phash_distance": pa.array(
            np.bitwise_count(facts.phash[first] ^ facts.phash[second]).astype(np.int32), mask=~both
        ),
    }
    for side, items in enumerate((first, second)):
        unknown, unread = ~facts.known[items], facts.bytes_id[items] < 0
        columns[f"width_{side}"] = pa.array(facts.width[items], mask=unknown)
        columns[f"height_{side}"] = pa.array(facts.height[items], mask=unknown)
        columns[f"image_copies_{side}"] = pa.array(facts.copies[items], mask=unread)
        columns[f"image_cluster_{side}"] = pa.array(facts.cluster[items], mask=unknown)
        columns[f"image_cluster_size_{side}"] = pa.array(facts.cluster_size[items], mask=unknown)
    return [columns[field.name] for field in FACT_COLUMNS]


@lru_cache(maxsize=16)
def _nothing(rows: int, kind: pa.DataType) -> pa.Array:
    # Most columns of this kind are null throughout; clearing the memory for each anew takes longer than the rest.
    return pa.nulls(rows, kind)


def _nullable(values: npt.NDArray[np.floating[Any]]) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _statuses(codes: npt.NDArray[np.int8]) -> pa.Array:
    # Nearly all have a score: a column of nulls costs next to nothing to keep and to load.
    if (codes == STATUSES.index(OK)).all():
        return _nothing(len(codes), pa.string())
    word = np.where(codes < 0, len(STATUSES), codes)
    return _WORDS.take(pa.array(word, mask=codes == STATUSES.index(OK)))


def _one_ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches, each made while the one before it is written."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def _tally(store: Store, dataset: Dataset, scores: ItemScores) -> Tally:
    return tally(scores, lambda: image_numbers(store, dataset).indices.to_numpy())


def _scale(scores: ItemScores) -> tuple[float, float] | None:
    values = scores.values[~np.isnan(scores.values)]
    if not len(values):
        return None
    low, high = np.quantile(values.astype(np.float64), [0.01, 0.99])
    return float(low), float(high)


def _by_scorer(snapshot: Snapshot, dataset: Dataset) -> dict[str, list[Member]]:
    # The image columns of two datasets may share keys, so only this dataset's units are read.
    units = {piece.unit for piece in dataset.slices}
    members: dict[str, list[Member]] = {}
    for member in snapshot.members:
        if member.unit in units:
            members.setdefault(member.scorer_id, []).append(member)
    return members
