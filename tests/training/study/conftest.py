"""A small Toyworld whose truth is known, scored by three made-up scorers: one that knows it, one that knows half, one
that knows nothing."""

import math
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scored import Score, score_all

from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot
from training.toyworld.dataset import Written, write_dataset


@dataclass(frozen=True)
class Toys:
    """A store with the dataset "toys", its snapshot, and what was written."""

    store: Store
    snapshot: Snapshot
    written: Written

    @property
    def truth(self) -> pa.Table:
        return pq.read_table(self.written.truth)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    folder = tmp_path_factory.mktemp("toys")
    written = write_dataset(folder / "raw", pairs=240, noise=0.3, seed=3, pixels=32)
    store = Store.open(folder / "store")
    ingest(store, written.data, "toys")
    return Toys(store, score_all(store, "toys", made_up(pq.read_table(written.truth))), written)


def made_up(truth: pa.Table) -> dict[str, Score]:
    """Scorers by their ids; noise comes from the digits of an image's uid."""
    utility: dict[str, float] = {}
    for side in (0, 1):
        utility |= dict(zip(truth[f"image_{side}_uid"].to_pylist(), truth[f"utility_{side}"].to_pylist(), strict=True))

    def noise(uid: str) -> float:
        return math.sin(int(uid[:8], 16))

    return {
        "knows@00000000": lambda uid: utility[uid],
        "half@11111111": lambda uid: utility[uid] + 0.2 * noise(uid),
        "guess@22222222": noise,
    }
