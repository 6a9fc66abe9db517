"""The wide table joins every scorer's scores to every pair, from the snapshot's files alone."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pickapic_factory import Row, rows, write
from scored import score_all, score_table

from ranking.datasets import Dataset
from ranking.errors import NotFoundError, StoreError, UnknownNameError
from ranking.features.assemble import TEXT
from ranking.features.fields import fields
from ranking.features.wide import wide_table
from ranking.ingest import ingest
from ranking.names import sha256_file
from ranking.store.blobs import Store
from ranking.store.commits import commit_scores
from ranking.store.snapshots import Snapshot, create_snapshot

A, B = "a@00000000", "b@00000000"


def read(path: Path) -> list[dict[str, object]]:
    return pq.read_table(path, partitioning=None).to_pylist()


def test_scores_gaps_and_votes_are_those_worked_by_hand(store: Store, tmp_path: Path) -> None:
    judged = [
        Row("cat", "w", "x", winner=0),
        Row("cat", "x", "y", winner=1, ranking=1),
        Row("cat", "w", "y", winner=None, ranking=2),
        Row("cat", "y", "z", winner=0, ranking=3),
    ]
    ingest(store, write(tmp_path / "a.parquet", judged), "pets")
    a = {"w": 0.75, "x": 0.25, "y": 0.25, "z": None}
    b = {"w": 0.5, "x": 1.0, "y": 2.0, "z": 3.0}
    wide = read(wide_table(store, score_all(store, "pets", {A: a.__getitem__, B: b.__getitem__}), "pets"))
    assert [(row["a.0"], row["a.1"], row["a.gap"]) for row in wide] == [
        (0.75, 0.25, 0.5),
        (0.25, 0.25, 0.0),
        (0.75, 0.25, None),  # a tie
        (0.25, None, None),  # z has no bytes
    ]
    assert [row["b.gap"] for row in wide] == [-0.5, 1.0, None, -1.0]
    assert [(row["a.status_0"], row["a.status_1"]) for row in wide] == [(None, None)] * 3 + [(None, "missing")]
    assert [row["a.rank"] for row in wide] == [1, 2, None, None]
    assert [row["b.rank"] for row in wide] == [2, 1, None, 3]
    assert [(row["votes"], row["agree_votes"]) for row in wide] == [(2, 1), (1, 1), (0, 0), (1, 0)]


def test_every_pair_has_one_row_in_the_order_of_ingestion(store: Store, snapshot: Snapshot) -> None:
    wide = read(wide_table(store, snapshot, "pets"))
    assert [(row["source"], row["row"]) for row in wide] == [(source, row) for source in (0, 1) for row in range(6)]


def test_an_image_is_scored_for_each_prompt_apart(store: Store, tmp_path: Path) -> None:
    judged = [Row("cat", "a", "b"), Row("dog", "a", "b", ranking=1)]
    ingest(store, write(tmp_path / "a.parquet", judged), "pets", slice_items=2)
    scores = iter([1.0, 2.0, 3.0, 4.0])
    wide = read(wide_table(store, score_all(store, "pets", {A: lambda _: next(scores)}), "pets"))
    assert [(row["a.0"], row["a.1"]) for row in wide] == [(1.0, 2.0), (3.0, 4.0)]


def test_pairs_that_are_not_scored_yet_are_there_with_nulls(store: Store, dataset: Dataset) -> None:
    row = read(wide_table(store, create_snapshot(store), "pets"))[0]
    assert (row["votes"], "a.0" in row) == (0, False)
    unit = dataset.slices[0]
    items = pq.read_table(dataset.items_paths(store)[0], partitioning=None).slice(0, unit.rows)
    table = score_table(items["image_uid"].to_pylist(), items["prompt_id"].to_pylist(), [0.5] * unit.rows)
    commit_scores(store, scorer_id=A, unit=unit.unit, table=table, attempt="test")
    wide = read(wide_table(store, create_snapshot(store), "pets"))
    assert (wide[0]["a.0"], wide[0]["a.status_0"]) == (0.5, None)
    assert (wide[-1]["a.0"], wide[-1]["a.status_0"]) == (None, "unscored")


def test_two_datasets_that_share_images_do_not_mix(store: Store, tmp_path: Path) -> None:
    ingest(store, write(tmp_path / "a.parquet", rows(4)), "one")
    ingest(store, write(tmp_path / "b.parquet", rows(4)), "two")
    score_all(store, "one", {A: lambda _: 1.0})
    snapshot = score_all(store, "two", {A: lambda _: 2.0})
    for name, score in (("one", 1.0), ("two", 2.0)):
        wide = read(wide_table(store, snapshot, name))
        assert [row["a.0"] for row in wide] == [score] * 4


def test_an_old_snapshot_does_not_see_new_pairs(store: Store, snapshot: Snapshot, tmp_path: Path) -> None:
    ingest(store, write(tmp_path / "more.parquet", rows(3, first=60)), "pets")
    assert len(read(wide_table(store, snapshot, "pets"))) == 12
    assert len(read(wide_table(store, create_snapshot(store), "pets"))) == 15


@pytest.mark.usefixtures("dataset")
def test_only_the_scorer_chosen_for_a_name_is_joined(store: Store) -> None:
    score_all(store, "pets", {"a@00000000": lambda _: 1.0})
    snapshot = score_all(store, "pets", {"a@ffffffff": lambda _: 2.0})
    assert {row["a.0"] for row in read(wide_table(store, snapshot, "pets"))} == {1.0}


def test_the_table_is_built_once_and_again_when_lost_or_damaged(store: Store, snapshot: Snapshot) -> None:
    path = wide_table(store, snapshot, "pets")
    first, made = sha256_file(path), path.stat().st_mtime_ns
    assert wide_table(store, snapshot, "pets").stat().st_mtime_ns == made
    path.write_bytes(b"PAR1 cut")
    assert sha256_file(wide_table(store, snapshot, "pets")) == first
    path.unlink()
    assert sha256_file(wide_table(store, snapshot, "pets")) == first
    assert list(store.tmp().iterdir()) == []


def test_a_damaged_score_file_is_never_joined(store: Store, snapshot: Snapshot) -> None:
    path = store.local(snapshot.members[0].file)
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        wide_table(store, snapshot, "pets")
    assert store.list("wide") == [] and list(store.tmp().iterdir()) == []


def test_a_dataset_that_the_snapshot_does_not_have_is_said_so(store: Store, snapshot: Snapshot, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean pets"):
        wide_table(store, snapshot, "pest")
    ingest(store, write(tmp_path / "more.parquet", rows(3)), "later")
    with pytest.raises(NotFoundError, match="older than dataset later"):
        wide_table(store, snapshot, "later")


def test_the_fields_are_exactly_the_columns(store: Store, snapshot: Snapshot) -> None:
    schema = pq.read_schema(wide_table(store, snapshot, "pets"))
    known = fields(store, snapshot, "pets")
    assert list(known) == schema.names
    kinds = {"int8": "number", "int32": "number", "int64": "number", "float": "number", "double": "number"}
    kinds |= {str(TEXT): "text", "string": "text", "bool": "boolean", "timestamp[us]": "time"}
    assert {name: field.kind for name, field in known.items()} == {f.name: kinds[str(f.type)] for f in schema}
    assert all(field.meaning for field in known.values())
