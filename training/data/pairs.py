"""The pairs of a subset that a run trains on, and where their pictures come from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ranking.datasets import Dataset, get_dataset
from ranking.embeddings import EmbeddedKind, embedding_names, read_embeddings
from ranking.flags.copies import without_taken_down
from ranking.flags.takedowns import LiveTakedowns
from ranking.images import Found, ImageReader
from ranking.images.fetch import url_fetcher
from ranking.settings import load_settings
from ranking.store.blobs import Store
from ranking.store.snapshots import get_snapshot
from ranking.subsets.catalog import Subset, subset_pairs
from training.data.later import Later, from_sources
from training.data.rows import PairRows, rows_of
from workers.scorers.base import Floats, ScorerSpec

Pictures = Callable[[Collection[str]], Iterator[tuple[str, Found]]]
"""Called with image uids: each with its encoded bytes, in an order of its own, each once."""

Embedded = Callable[[ScorerSpec, EmbeddedKind, Sequence[str]], dict[str, Floats]]
"""Called with a scorer, what is meant, and image uids or prompt ids: the vectors of those whose embedding by this very
scorer somebody kept."""

_AT_ONCE = 20_000
"""Pictures whose pointers are Python objects at one time."""


@dataclass(frozen=True)
class PairSource:
    """Pairs and their pictures, all in one go or some of them `later`. `origin` names the dataset by what is in it:
    with it, an image's uid names its bytes. `ordered` sorts uids as `pictures` has them, where that is by where they
    lie. `contents_taken` are the SHA-256 of what is taken down by its bytes, by now: what was made of them before may
    not be used. `embedded` has what is known of embeddings without computing any."""

    rows: PairRows
    pictures: Pictures
    origin: str
    later: Later
    ordered: Callable[[pa.Array], pa.Array] = lambda uids: uids
    contents_taken: Callable[[], frozenset[str]] = frozenset
    embedded: Embedded = lambda spec, kind, keys: {}  # noqa: ARG005


def from_store(store: Store, subset: Subset) -> PairSource:
    """A subset of this store, its pairs file hashed."""
    dataset = get_dataset(store, subset.dataset)

    def embedded(spec: ScorerSpec, kind: EmbeddedKind, keys: Sequence[str]) -> dict[str, Floats]:
        snapshot = get_snapshot(store, subset.snapshot.n)
        name = spec.embedding.name if spec.embedding is not None else ""
        if not keys or embedding_names(snapshot).get(name) != spec.embedding_id:
            return {}
        found = read_embeddings(store, snapshot, subset.dataset, name, kind=kind, keys=keys)
        return dict(zip(found.keys, found.matrix.astype(np.float32), strict=True))

    source = from_table(store, dataset, subset_pairs(store, subset), ref=subset.ref)
    return replace(source, embedded=embedded)


def from_table(store: Store, dataset: Dataset, pairs: pa.Table, *, ref: str) -> PairSource:
    """Pairs of a dataset of this store, as a table of a subset's schema has them."""
    table, taken_down = without_taken_down(store, dataset, pairs)
    rows = rows_of(table, ref=ref, taken_down=taken_down)
    reader = ImageReader(store, dataset, fetch=url_fetcher(load_settings()))

    def places(uids: Collection[str]) -> pa.Table:
        # In the order in which they lie in their sources: each is passed once, however many row groups it has.
        return reader.places(uids).sort_by([(name, "ascending") for name in ("source", "file", "column", "row")])

    def pictures(uids: Collection[str]) -> Iterator[tuple[str, Found]]:
        found = places(uids)
        for start in range(0, len(found), _AT_ONCE):
            yield from reader.read_each(found.slice(start, _AT_ONCE))

    def ordered(uids: pa.Array) -> pa.Array:
        found = places(uids.to_pylist())["image_uid"].combine_chunks().cast(pa.string())
        unknown = uids.filter(pc.invert(pc.is_in(uids, value_set=found)))
        return pa.concat_arrays([found, unknown])

    return PairSource(
        rows,
        pictures,
        origin=dataset.origin_sha,
        later=from_sources(store, dataset, lambda: reader.places(rows.uids.to_pylist())),
        ordered=ordered,
        contents_taken=lambda: LiveTakedowns(store).now().contents,
    )
