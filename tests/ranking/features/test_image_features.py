"""What the wide table says of a pair's images once they were decoded, and of ratings that people gave them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pickapic_factory import Row, write
from tfrecord_factory import example, write_tfrecord

from ranking import plan
from ranking.features.copies import MAX_DISTANCE, near_copies
from ranking.features.fields import fields
from ranking.features.wide import wide_table
from ranking.images.facts import FACTS_ID
from ranking.ingest import ingest
from ranking.schema import FACTS
from ranking.store.blobs import Store
from ranking.store.commits import commit_facts
from ranking.store.snapshots import create_snapshot

NEVER = "image-facts@00000000"
"""An id of facts by another definition, which must not be mixed with ours."""


def commit_all_facts(store: Store, known: dict[str, tuple[str, int] | None], *, facts_id: str = FACTS_ID) -> None:
    """Commit the content's hash and the perceptual hash of every image; None for one that does not decode."""
    job = plan.create_plan(store, "pets", ["any@00000000"])
    for piece in job.slices:
        items = plan.read_items(store, job, piece)
        records = [record(uid, known[uid]) for uid in dict.fromkeys(items["image_uid"].to_pylist())]
        table = pa.Table.from_pylist(records, schema=FACTS)
        commit_facts(store, facts_id=facts_id, unit=piece.unit, table=table, attempt="test", items=items)


def record(uid: str, known: tuple[str, int] | None) -> dict[str, Any]:
    if known is None:
        return {"image_uid": uid, "bytes": 3, "sha256": "f" * 64, "status": "corrupt"}
    size = {"bytes": 10, "width": 640, "height": 480}
    return {"image_uid": uid, "sha256": known[0] * 64, "phash": known[1], "status": "ok", **size}


def wide_of(store: Store) -> list[dict[str, Any]]:
    path = wide_table(store, create_snapshot(store), "pets")
    return pq.read_table(path, partitioning=None).to_pylist()


def test_pairs_say_how_alike_their_images_are(store: Store, tmp_path: Path) -> None:
    judged = [
        Row("cat", "a", "copy-of-a"),
        Row("cat", "a", "near-a", ranking=1),
        Row("dog", "a", "other", ranking=2),  # the same image under another prompt
        Row("dog", "other", "broken", ranking=3),
    ]
    ingest(store, write(tmp_path / "a.parquet", judged), "pets", slice_items=2)
    assert {row["phash_distance"] for row in wide_of(store)} == {None}
    known = {
        "a": ("a", 0b111),
        "copy-of-a": ("a", 0b111),
        "near-a": ("b", 0b101),
        "other": ("c", 0b111 << 61),
        "broken": None,
    }
    commit_all_facts(store, dict.fromkeys(known, ("e", 0)), facts_id=NEVER)
    commit_all_facts(store, known)
    found = wide_of(store)
    assert [row["phash_distance"] for row in found] == [0, 1, 6, None]
    assert [row["same_bytes"] for row in found] == [True, False, False, False]
    assert [(row["image_copies_0"], row["image_copies_1"]) for row in found] == [(2, 2), (2, 1), (2, 1), (1, 1)]
    assert [(row["image_cluster_size_0"], row["image_cluster_size_1"]) for row in found] == [
        (3, 3),
        (3, 3),
        (3, 1),
        (1, None),
    ]
    assert found[0]["image_cluster_0"] == found[1]["image_cluster_1"] != found[2]["image_cluster_1"]
    assert [(row["width_0"], row["height_1"]) for row in found] == [(640, 480)] * 3 + [(640, None)]


@pytest.mark.parametrize("broken", [0, 1])
def test_an_image_that_one_slice_could_not_get_is_what_the_other_saw(store: Store, tmp_path: Path, broken: int) -> None:
    judged = [Row("cat", "a", "b"), Row("dog", "a", "c", ranking=1)]
    ingest(store, write(tmp_path / "a.parquet", judged), "pets", slice_items=2)
    job = plan.create_plan(store, "pets", ["any@00000000"])
    for number, piece in enumerate(sorted(job.slices, key=lambda piece: piece.unit)):
        items = plan.read_items(store, job, piece)
        uids = items["image_uid"].to_pylist()
        lost = {"image_uid": "a", "status": "missing"}
        records = [lost if uid == "a" and number == broken else record(uid, (uid, 1)) for uid in uids]
        table = pa.Table.from_pylist(records, schema=FACTS)
        commit_facts(store, facts_id=FACTS_ID, unit=piece.unit, table=table, attempt="test", items=items)
    assert [(row["phash_distance"], row["same_bytes"], row["width_0"]) for row in wide_of(store)] == [
        (0, False, 640)
    ] * 2


def test_ratings_stand_beside_the_images_they_are_of(store: Store, tmp_path: Path) -> None:
    judged = [Row("cat", "a", "b", winner=1), Row("dog", "b", "c", winner=0, ranking=1)]
    ingest(store, write(tmp_path / "a.parquet", judged), "pets")
    before = create_snapshot(store)
    scores = {"a": 0.25, "b": 0.75}
    names = ("aesthetics_score", "artifact_score", "misalignment_score", "overall_score")
    records = [
        example({"filename": f"x/{uid}.png".encode(), **dict.fromkeys(names, value)}) for uid, value in scores.items()
    ]
    ingest(store, write_tfrecord(tmp_path / "r.tfrecord", records), "pets", format="richhf")
    # A rating without a prompt holds under every prompt; the winner of the first pair is image 1.
    after = create_snapshot(store)
    found = pq.read_table(wide_table(store, after, "pets"), partitioning=None).to_pylist()
    name = "rating.richhf-overall"
    assert [(row[f"{name}.0"], row[f"{name}.1"], row[f"{name}.gap"]) for row in found] == [
        (0.25, 0.75, 0.5),
        (0.75, None, None),
    ]
    assert f"{name}.gap" in fields(store, after, "pets")
    assert f"{name}.gap" not in fields(store, before, "pets")
    assert f"{name}.0" not in pq.read_schema(wide_table(store, before, "pets")).names


@given(st.lists(st.integers(0, 2**64 - 1), max_size=12), st.lists(st.integers(0, 63), max_size=MAX_DISTANCE))
def test_a_hash_and_the_same_with_a_few_bits_changed_are_one_group(hashes: list[int], bits: list[int]) -> None:
    changed = [value ^ sum(1 << bit for bit in set(bits)) for value in hashes]
    every = np.array(hashes + changed, np.uint64)
    group = near_copies(every, np.ones(len(every), bool))
    assert (group[: len(hashes)] == group[len(hashes) :]).all()


def test_strangers_and_images_never_decoded_stay_alone() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 5_000, dtype=np.uint64)
    assert len(set(near_copies(hashes, np.ones(5_000, bool)).tolist())) == 5_000
    assert near_copies(np.zeros(3, np.uint64), np.array([False, True, False])).tolist() == [0, 1, 2]
    assert near_copies(np.zeros(3, np.uint64), np.array([True, False, True])).tolist() == [0, 1, 0]
    assert near_copies(np.zeros(0, np.uint64), np.zeros(0, bool)).tolist() == []
