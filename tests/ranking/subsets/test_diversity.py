"""Re-ranking a pool of pairs by what their embeddings say: objectives worked by hand, and pairs that have none."""

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from embedded import CLIP, table_of

from ranking import plan
from ranking.datasets import Dataset
from ranking.features.pairs import PairTable
from ranking.store.blobs import Store
from ranking.store.commits import commit_embeddings
from ranking.store.snapshots import create_snapshot
from ranking.subsets.diversity import Reranked, pool_size, rerank
from ranking.subsets.recipe import Diversity

ROOT = Path(__file__).parents[3]


def at(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


@pytest.fixture
def placed(store: Store, dataset: Dataset) -> Callable[[dict[str, float | None]], PairTable]:
    """Embeds the images of "pets" at angles on a circle, all prompts at 0, and gives the table of a snapshot."""

    def place(angles: dict[str, float | None]) -> PairTable:
        job = plan.create_plan(store, "pets", [CLIP])
        for piece in job.slices:
            items = plan.read_items(store, job, piece)
            images, prompts = (items[name].unique().to_pylist() for name in ("image_uid", "prompt_id"))
            vectors = [None if angles.get(uid, 0.0) is None else at(angles.get(uid, 0.0) or 0.0) for uid in images]
            kinds = ["image"] * len(images) + ["prompt"] * len(prompts)
            table = table_of(kinds, [*images, *prompts], [*vectors, *([at(0.0)] * len(prompts))])
            commit_embeddings(store, embedding_id=CLIP, unit=piece.unit, table=table, attempt="test", items=items)
        return PairTable(store, create_snapshot(store), "pets")

    return place


def pool(*winners: str) -> pa.Table:
    return pa.table({"prompt_id": ["unknown"] * len(winners), "winner_uid": list(winners)})


def reranked(table: PairTable, winners: list[str], **wanted: Any) -> Reranked:
    take = wanted.pop("take", len(winners))
    return rerank(pool(*winners), Diversity(embedding="clip-l14", of="winner", **wanted), table=table, take=take)


def test_entropy_adds_the_places_by_quality_and_by_distance(placed: Callable[..., PairTable]) -> None:
    table = placed({"img-0": 0, "img-1": 10, "img-2": 180, "img-3": 200, "img-4": 90})
    winners = ["img-0", "img-1", "img-2", "img-3", "img-4"]
    found = reranked(table, winners, neighbours=1, weight=0.4)
    # Chords to the nearest: 2·sin(5°) twice, 2·sin(10°) twice, 2·sin(40°) from 90° to 10°.
    expected = [math.log(2 * math.sin(math.radians(half))) for half in (5, 5, 10, 10, 40)]
    assert found.raw == pytest.approx(expected, abs=6e-3)
    # Shares that are smaller, an equal one counting half; 10° and 20° are not quite equal on the grid.
    assert found.diversity[4] == 0.9
    assert sorted(found.diversity.tolist()) == pytest.approx([0.2, 0.2, 0.6, 0.6, 0.9], abs=0.11)
    values = [
        0.6 * quality + 0.4 * float(d) for quality, d in zip((0.9, 0.7, 0.5, 0.3, 0.1), found.diversity, strict=True)
    ]
    assert found.order.tolist() == sorted(range(5), key=lambda i: -values[i])
    assert found.report == {"method": "knn-entropy", "pool": 5, "distinct": 5, "without_embedding": 0}


def test_only_the_best_pair_of_a_prompt_counts_with_its_distance(placed: Callable[..., PairTable]) -> None:
    table = placed({"img-0": 0, "img-1": 10, "img-2": 180})
    found = reranked(table, ["img-2", "img-2", "img-0", "img-2", "img-1", "img-0"], neighbours=1, weight=1.0)
    # First ones: img-2 is far, img-0 and img-1 near and alike; then the second ones; then the third.
    assert found.diversity.tolist() == pytest.approx([5.5 / 6, 2.5 / 6, 4 / 6, 0.5 / 6, 4 / 6, 1.5 / 6])
    assert found.order.tolist() == [0, 2, 4, 1, 5, 3]


@pytest.mark.parametrize("method", ["knn-entropy", "facility-location"])
def test_pairs_without_an_embedding_have_no_diversity_and_stay_where_quality_puts_them(
    placed: Callable[..., PairTable], method: str
) -> None:
    table = placed({"img-0": 0, "img-1": None, "img-2": 120, "img-3": 240})
    found = reranked(table, ["img-1", "img-0", "img-2", "img-3", "gone"], method=method, neighbours=1, weight=1.0)
    assert found.diversity[[0, 4]].tolist() == [0, 0]
    assert np.isnan(found.raw[[0, 4]]).all()
    assert found.order.tolist()[-2:] == [0, 4]
    assert found.report["without_embedding"] == 2
    nothing = reranked(table, ["gone", "img-1"], method=method, weight=1.0)
    assert nothing.order.tolist() == [0, 1]


def test_facility_location_takes_one_of_each_group_before_a_second_one(placed: Callable[..., PairTable]) -> None:
    table = placed({"img-0": 0, "img-1": 1, "img-2": 2, "img-3": 120, "img-4": 121, "img-5": 240})
    winners = [f"img-{i}" for i in range(6)]
    found = reranked(table, winners, method="facility-location", weight=0.9, take=3)
    assert sorted(found.order.tolist()[:3]) in ([0, 3, 5], [1, 3, 5], [0, 4, 5], [1, 4, 5])
    assert found.order.tolist()[3:] == sorted(found.order.tolist()[3:]), "what is not chosen stays in its order"
    assert found.report["exact"] is True
    assert found.report["coverage"] > 0.99
    alone = reranked(table, winners, method="facility-location", weight=0.0, take=3)
    assert alone.order.tolist() == [0, 1, 2, 3, 4, 5]


def test_the_pool_is_a_multiple_of_what_is_taken_as_far_as_there_is_one() -> None:
    wanted = Diversity(embedding="clip-l14", pool=2.5)
    assert [pool_size(wanted, take=take, available=12) for take in (1, 3, 4, 9)] == [3, 8, 10, 12]
    # 5 × 2.2 is 11, though not in floats.
    assert pool_size(Diversity(embedding="clip-l14", pool=2.2), take=5, available=99) == 11


_DIGEST = """
import hashlib, numpy as np
from ranking.subsets.density import log_distances
from ranking.embeddings import Embeddings
from ranking.subsets import facility
from ranking.subsets.vectors import centre, on_grid
facility.DENSE, facility.BLOCK = 500, 1000
made = np.random.default_rng(0).standard_normal((1500, 96))
made = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)
logs = log_distances(Embeddings(tuple(map(str, range(1500))), made, {}), neighbours=5)
similar = facility.similarities(centre(on_grid(made), np.ones(1500, np.int64)), seed=1)
located = facility.locate(similar, np.arange(1500), take=400, weight=0.5)
print(hashlib.sha256(logs.tobytes() + located.order.tobytes() + located.gains.tobytes()).hexdigest())
"""


def test_the_same_comes_out_whatever_the_threads_and_kernels_of_blas() -> None:
    """OPENBLAS_CORETYPE picks the kernels of another processor, which add in another order."""
    digests = set()
    for settings in ({"OPENBLAS_NUM_THREADS": "1"}, {"OPENBLAS_NUM_THREADS": "2"}, {"OPENBLAS_CORETYPE": "Nehalem"}):
        done = subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env=os.environ | settings,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1
    assert len(digests.pop()) == len(hashlib.sha256().hexdigest())
