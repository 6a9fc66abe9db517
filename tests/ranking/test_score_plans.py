"""A scoring job's plan: what is open, done and dead follows from the markers alone."""

from pathlib import Path

import pytest
from pickapic_factory import rows, write
from scored import score_all, score_table

from ranking import plan
from ranking.datasets import Dataset, get_dataset
from ranking.errors import NotFoundError, StoreError, UnknownNameError, UsageError
from ranking.ingest import ingest
from ranking.schema import ITEMS
from ranking.store.blobs import Store
from ranking.store.commits import commit_scores

IDS = ["b@00000000", "a@00000000"]


def commit(store: Store, job: plan.Plan, piece: plan.Slice, scorer_id: str) -> None:
    items = plan.read_items(store, job, piece)
    table = score_table(items["image_uid"].to_pylist(), items["prompt_id"].to_pylist(), [0.5] * items.num_rows)
    commit_scores(store, scorer_id=scorer_id, unit=piece.unit, table=table, attempt="test", items=items)


def test_the_same_job_is_planned_once_whatever_the_order_of_the_scorers(store: Store, dataset: Dataset) -> None:
    job = plan.create_plan(store, dataset.name, IDS)
    assert plan.create_plan(store, dataset.name, [*reversed(IDS), IDS[0]]) == job
    assert plan.list_plans(store) == [job]
    assert job.scorer_ids == ("a@00000000", "b@00000000")
    assert plan.create_plan(store, dataset.name, IDS[:1]).job_id != job.job_id


def test_the_slices_of_a_plan_hold_every_item_once(store: Store, dataset: Dataset) -> None:
    job = plan.create_plan(store, dataset.name, IDS)
    tables = [plan.read_items(store, job, piece) for piece in job.slices]
    keys = [(r["image_uid"], r["prompt_id"]) for table in tables for r in table.to_pylist()]
    assert len(keys) == len(set(keys)) == dataset.n_items
    for piece, table in zip(job.slices, tables, strict=True):
        assert table.schema.equals(ITEMS)
        assert 1 <= table.num_rows == piece.rows <= 5
        assert set(table["slice"].to_pylist()) == {piece.unit}
        assert set(table["source"].to_pylist()) == {piece.source}


def test_open_work_shrinks_as_units_are_committed(store: Store, dataset: Dataset) -> None:
    job = plan.create_plan(store, dataset.name, IDS)
    first, second = job.slices[:2]
    commit(store, job, first, IDS[0])
    commit(store, job, first, IDS[1])
    commit(store, job, second, IDS[0])
    left = plan.open_slices(store, job)
    assert [piece for piece, _ in left] == list(job.slices[1:])
    assert left[0] == (second, ["a@00000000"])
    done = plan.progress(store, job)
    assert (done.units_total, done.units_done, done.units_dead) == (2 * len(job.slices), 3, 0)
    assert (done.items_total, done.items_done) == (2 * dataset.n_items, 2 * first.rows + second.rows)
    assert done.units_open == sum(len(ids) for _, ids in left)


def test_a_finished_job_has_nothing_open(store: Store, dataset: Dataset) -> None:
    job = plan.create_plan(store, dataset.name, IDS)
    score_all(store, dataset.name, {scorer_id: lambda _: 0.5 for scorer_id in IDS})
    assert plan.open_slices(store, job) == []
    assert plan.progress(store, job).units_done == plan.progress(store, job).units_total


def test_scores_of_another_job_count(store: Store, dataset: Dataset) -> None:
    score_all(store, dataset.name, {IDS[0]: lambda _: 0.5})
    job = plan.create_plan(store, dataset.name, IDS)
    assert all(ids == [IDS[1]] for _, ids in plan.open_slices(store, job))


def test_when_a_dataset_grows_only_the_new_slices_are_open(store: Store, dataset: Dataset, tmp_path: Path) -> None:
    score_all(store, dataset.name, {IDS[0]: lambda _: 0.5})
    ingest(store, write(tmp_path / "more.parquet", rows(5, first=50)), dataset.name, slice_items=3)
    job = plan.create_plan(store, dataset.name, IDS[:1])
    assert job.revision == 2
    assert job.slices[: len(dataset.slices)] == dataset.slices
    assert [piece for piece, _ in plan.open_slices(store, job)] == list(job.slices[len(dataset.slices) :])


def test_a_buried_slice_is_dead_with_its_reason_and_no_longer_open(store: Store, dataset: Dataset) -> None:
    job = plan.create_plan(store, dataset.name, IDS)
    piece = job.slices[0]
    commit(store, job, piece, IDS[0])
    assert plan.bury(store, job, piece.unit, reason="killed the worker thrice")
    assert not plan.bury(store, job, piece.unit, reason="again")
    assert [(dead.unit, dead.reason) for dead in plan.dead_slices(store, job)] == [
        (piece.unit, "killed the worker thrice")
    ]
    assert piece not in [open_piece for open_piece, _ in plan.open_slices(store, job)]
    progress = plan.progress(store, job)
    assert (progress.units_done, progress.units_dead) == (1, 1)


def test_attempts_are_kept_in_order(store: Store, dataset: Dataset) -> None:
    job = plan.create_plan(store, dataset.name, IDS)
    unit = job.slices[0].unit
    ids = [plan.record_attempt(store, job, unit, worker=f"worker-{i}") for i in range(3)]
    found = plan.attempts(store, job, unit)
    assert [attempt.attempt for attempt in found] == ids
    assert [attempt.worker for attempt in found] == ["worker-0", "worker-1", "worker-2"]
    assert plan.attempts(store, job, job.slices[1].unit) == []


def test_what_does_not_exist_is_said_so(store: Store, dataset: Dataset) -> None:
    job = plan.create_plan(store, dataset.name, IDS)
    with pytest.raises(UnknownNameError, match="did you mean pets"):
        plan.create_plan(store, "pet", IDS)
    with pytest.raises(NotFoundError):
        plan.get_plan(store, "0" * 16)
    with pytest.raises(NotFoundError):
        plan.find_slice(job, "0" * 16)
    with pytest.raises(UsageError):
        plan.get_plan(store, "../../etc")
    with pytest.raises(UsageError, match="at least one scorer"):
        plan.create_plan(store, dataset.name, [])
    with pytest.raises(UsageError):
        plan.create_plan(store, dataset.name, ["no-fingerprint"])


def test_a_damaged_revision_is_refused(store: Store, dataset: Dataset) -> None:
    path = store.local("datasets/pets/revisions/0000000001.json")
    path.write_bytes(path.read_bytes().replace(b'"rows":6', b'"rows":7', 1))
    with pytest.raises(StoreError, match="does not have its sha"):
        get_dataset(store, dataset.name)
