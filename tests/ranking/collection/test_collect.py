"""A collection takes what nothing names and has lain untouched for long; what is wanted after all comes back."""

import json
import time
from pathlib import Path

import pytest
from aged import DAY, age, age_all, age_path
from pickapic_factory import rows, write
from scored import score_all, score_table
from studied import add_study

from ranking import plan
from ranking.checkpoints import put_checkpoint
from ranking.collection import Ages, collect, plan_collection, restore, store_time
from ranking.collection.candidates import extent
from ranking.datasets import Dataset, get_dataset
from ranking.errors import NotFoundError, PairsieveError
from ranking.features.pairs import PairTable
from ranking.features.wide import wide_table
from ranking.ingest import ingest
from ranking.runs import bury_run, finish_run, plan_run
from ranking.store.blobs import Store
from ranking.store.commits import commit_scores, list_commits
from ranking.store.refs import pin
from ranking.store.snapshots import Snapshot, create_snapshot, get_snapshot, list_snapshots, verify_snapshot
from ranking.studies import list_studies
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset

ORPHAN = f"data/sharp@00000000/{'a' * 16}/{'b' * 64}.parquet"


def found(store: Store, **ages: float) -> list[str]:
    return [each.key for each in plan_collection(store, now=time.time(), ages=Ages(**ages)).candidates]


def run(store: Store, **ages: float) -> list[str]:
    """Collect; what was put aside."""
    before = set(store.list(""))
    collect(store, plan_collection(store, now=time.time(), ages=Ages(**ages)))
    return sorted(before - set(store.list("")))


def recipe(name: str = "best") -> dict[str, object]:
    return {
        "name": name,
        "dataset": "pets",
        "metric": {"name": "margin", "scorer": "sharp"},
        "take": {"count": 3},
        "seed": 0,
    }


def test_a_store_in_which_everything_is_named_loses_nothing_however_old(store: Store, snapshot: Snapshot) -> None:
    wide_table(store, snapshot, "pets")
    create_subset(store, parse_recipe(recipe()), snapshot)
    age_all(store, "", days=3650)
    assert found(store, snapshots=DAY) == []


def test_what_a_cell_of_a_study_names_stays_and_what_a_killed_one_left_goes(store: Store, snapshot: Snapshot) -> None:
    study, cell = add_study(store, create_subset(store, parse_recipe(recipe()), snapshot))
    left = cell.tallies.file.replace(cell.tallies.sha256, "0" * 64)
    store.put_if_absent(left, b"a killed study left this")
    score_all(store, "pets", {"hue@11111111": len})  # another snapshot, so that only the study cites the first
    age_all(store, "", days=3650)
    assert found(store, snapshots=DAY) == [left]
    assert [each.id for each in list_studies(store)] == [study.id]


def test_a_score_file_that_no_marker_names_goes_when_it_is_old(store: Store, snapshot: Snapshot) -> None:
    store.put_if_absent(ORPHAN, b"a killed commit left this")
    assert found(store) == []
    age(store, ORPHAN, days=6.9)
    assert found(store) == []
    age(store, ORPHAN, days=7.1)
    assert found(store) == [ORPHAN]
    assert run(store) == [ORPHAN]
    assert verify_snapshot(store, snapshot) == []


def test_planning_takes_nothing(store: Store, snapshot: Snapshot) -> None:
    store.put_if_absent(ORPHAN, b"x")
    age(store, ORPHAN, days=8)
    before = store.list("")
    assert found(store) == [ORPHAN]
    assert store.list("") == before


def test_what_is_taken_is_recorded_put_aside_and_deleted_after_the_grace_period(
    store: Store, snapshot: Snapshot
) -> None:
    store.put_if_absent(ORPHAN, b"four")
    age(store, ORPHAN, days=8)
    first = collect(store, plan_collection(store, now=time.time()))
    assert (first.taken, first.taken_bytes, first.purged) == (1, 4, 0)
    assert [each["key"] for each in json.loads(store.get(f"gc/{first.id}.json"))["candidates"]] == [ORPHAN]
    assert store.get(f"trash/{first.id}/{ORPHAN}") == b"four"

    soon = collect(store, plan_collection(store, now=time.time() + 0.9 * DAY))
    assert (soon.id, soon.purged) == (None, 0)
    later = collect(store, plan_collection(store, now=time.time() + 1.1 * DAY))
    assert (later.purged, later.purged_bytes) == (1, 4)
    assert store.list("trash") == [] and store.children("trash") == []


def test_what_was_put_aside_can_be_restored_by_the_number_of_its_collection(store: Store, snapshot: Snapshot) -> None:
    store.put_if_absent(ORPHAN, b"four")
    age(store, ORPHAN, days=8)
    done = collect(store, plan_collection(store, now=time.time()))
    assert done.id is not None
    assert restore(store, done.id) == [ORPHAN]
    assert store.get(ORPHAN) == b"four"
    assert found(store) == [], "it counts as young again"
    for wrong in (done.id, "unknown"):
        with pytest.raises(NotFoundError):
            restore(store, wrong)


def test_a_file_touched_since_the_plan_stays(store: Store, snapshot: Snapshot) -> None:
    store.put_if_absent(ORPHAN, b"x")
    age(store, ORPHAN, days=8)
    planned = plan_collection(store, now=time.time())
    assert not store.put_if_absent(ORPHAN, b"x"), "a writer that wants the file makes it young"
    done = collect(store, planned)
    assert (done.taken, done.stayed) == (0, 1)
    assert store.exists(ORPHAN)


def test_a_file_named_since_the_plan_stays(store: Store, dataset: Dataset) -> None:
    job = plan.create_plan(store, "pets", ["sharp@00000000"])
    unit = dataset.slices[0].unit
    items = plan.read_items(store, job, dataset.slices[0])
    table = score_table(items["image_uid"].to_pylist(), items["prompt_id"].to_pylist(), [0.5] * items.num_rows)
    commit_scores(store, scorer_id="sharp@00000000", unit=unit, table=table, attempt="test")
    [marker] = list_commits(store)
    key = f"commits/sharp@00000000/{unit}.json"
    held = store.get(key)
    store.delete(key)
    age(store, marker.file, days=8)
    planned = plan_collection(store, now=time.time())
    assert [each.key for each in planned.candidates] == [marker.file]
    store.put_if_absent(key, held)
    assert collect(store, planned).stayed == 1
    assert store.exists(marker.file)


class Paused(Store):
    """A store whose writer is held just before it places a marker, until `meanwhile` has run."""

    meanwhile = staticmethod(lambda: None)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if key.startswith("commits/"):
            self.meanwhile()
        return super().put_if_absent(key, data)


def slow_commit(store: Store, dataset: Dataset, meanwhile: object) -> None:
    slow = Paused(store._blobs)
    slow.meanwhile = meanwhile  # type: ignore[method-assign, assignment]
    job = plan.create_plan(store, "pets", ["sharp@00000000"])
    items = plan.read_items(store, job, dataset.slices[0])
    table = score_table(items["image_uid"].to_pylist(), items["prompt_id"].to_pylist(), [0.5] * items.num_rows)
    commit_scores(slow, scorer_id="sharp@00000000", unit=dataset.slices[0].unit, table=table, attempt="test")


def test_a_slow_writer_that_reuses_an_old_orphan_keeps_it(store: Store, dataset: Dataset) -> None:
    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        slow_commit(store, dataset, killed)
    [orphan] = store.list("data")
    age(store, orphan, days=30)
    assert found(store) == [orphan]
    seen = []
    slow_commit(store, dataset, lambda: seen.append(run(store)))
    assert seen == [[]]
    assert [commit.file for commit in list_commits(store)] == [orphan] == store.list("data")


@pytest.mark.parametrize("days_in_trash", [0, 2])
def test_a_writer_slower_than_every_age_writes_its_file_again(
    store: Store, dataset: Dataset, days_in_trash: float
) -> None:
    def meanwhile() -> None:
        age_all(store, "data", days=30)
        assert len(run(store)) == 1
        if days_in_trash:
            age_all(store, "trash", days=days_in_trash)
            run(store)
            assert store.list("trash") == []

    slow_commit(store, dataset, meanwhile)
    [commit] = list_commits(store)
    assert store.digest(commit.file) == commit.sha256
    age_all(store, "trash", days=2)
    run(store)
    assert store.digest(commit.file) == commit.sha256 and store.list("trash") == []


def test_a_collection_brings_back_what_a_killed_writer_has_named(store: Store, dataset: Dataset) -> None:
    class Killed(Paused):
        def exists(self, key: str) -> bool:
            if key.startswith("data/"):
                raise KeyboardInterrupt
            return super().exists(key)

    slow = Killed(store._blobs)
    slow.meanwhile = lambda: (age_all(store, "data", days=30), run(store))  # type: ignore[method-assign, assignment]
    job = plan.create_plan(store, "pets", ["sharp@00000000"])
    items = plan.read_items(store, job, dataset.slices[0])
    table = score_table(items["image_uid"].to_pylist(), items["prompt_id"].to_pylist(), [0.5] * items.num_rows)
    with pytest.raises(KeyboardInterrupt):
        commit_scores(slow, scorer_id="sharp@00000000", unit=dataset.slices[0].unit, table=table, attempt="test")
    [commit] = list_commits(store)
    assert not store.exists(commit.file)
    age_all(store, "trash", days=30)
    done = collect(store, plan_collection(store, now=time.time()))
    assert done.brought_back == (commit.file,)
    assert store.digest(commit.file) == commit.sha256


def test_a_collection_killed_before_it_asked_again_is_finished_by_the_next(store: Store, snapshot: Snapshot) -> None:
    [file, *_] = [member.file for member in snapshot.members]
    store.move(file, f"trash/killed/{file}")
    assert collect(store, plan_collection(store, now=time.time())).brought_back == (file,)
    assert verify_snapshot(store, snapshot) == []


def test_two_collections_at_once_take_each_thing_once(store: Store, snapshot: Snapshot) -> None:
    keys = [ORPHAN.replace("b" * 64, f"{n:064d}") for n in range(5)]
    for key in keys:
        store.put_if_absent(key, b"x")
        age(store, key, days=8)
    one, two = (plan_collection(store, now=time.time()) for _ in range(2))
    assert (collect(store, one).taken, collect(store, two).taken) == (5, 0)
    assert sorted(key.split("/", 2)[2] for key in store.list("trash")) == sorted(keys)


def test_files_of_an_ingest_that_lost_its_number_go(store: Store, dataset: Dataset) -> None:
    key = f"datasets/pets/items/{'c' * 64}.parquet"
    store.put_if_absent(key, b"x")
    age(store, key, days=8)
    assert run(store) == [key]
    assert get_dataset(store, "pets").items_paths(store)


def test_subset_files_without_a_manifest_go(store: Store, snapshot: Snapshot) -> None:
    kept = create_subset(store, parse_recipe(recipe()), snapshot)
    left = f"subsets/best/{'0' * 12}/pairs.parquet"
    store.put_if_absent(left, b"x")
    age_all(store, "subsets", days=8)
    assert run(store) == [left]
    assert store.exists(kept.pairs_key)


def test_only_outputs_that_an_ended_run_does_not_name_go(store: Store, snapshot: Snapshot) -> None:
    subset = create_subset(store, parse_recipe(recipe()), snapshot)
    done, dead, going = (plan_run(store, subset.ref, {"seed": n}).run_id for n in range(3))
    outputs = {
        (run_id, attempt): f"runs/{run_id}/output-{attempt}/unet/weights"
        for run_id in (done, dead, going)
        for attempt in "12"
    }
    for key in outputs.values():
        store.put_if_absent(key, b"x")
    store.put_if_absent(f"runs/{done}/evaluation/{'e' * 16}.json", b"{}")
    finish_run(store, done, {"output": f"runs/{done}/output-2"})
    bury_run(store, dead, reason="tried three times")
    age_all(store, "runs", days=8)
    assert run(store) == sorted([outputs[done, "1"], outputs[dead, "1"], outputs[dead, "2"]])


def test_checkpoints_stay_until_their_run_is_done_and_what_no_marker_names_goes(
    store: Store, snapshot: Snapshot
) -> None:
    subset = create_subset(store, parse_recipe(recipe()), snapshot)
    done, dead, going = (plan_run(store, subset.ref, {"seed": n}).run_id for n in range(3))
    for run_id in (done, dead, going):
        state = store.tmp() / run_id
        state.mkdir()
        (state / "weights").write_bytes(b"x")
        put_checkpoint(store, run_id, 7, state, attempt="a" * 32, facts={})
        store.put_if_absent(f"runs/{run_id}/checkpoints/0000000009/{'b' * 12}/weights", b"killed before its marker")
    finish_run(store, done, {"output": f"runs/{done}/output-2"})
    bury_run(store, dead, reason="the loss is nan")
    age_all(store, "runs", days=8)
    unfinished = [f"runs/{run_id}/checkpoints/0000000009/{'b' * 12}/weights" for run_id in (done, dead, going)]
    useless = [
        f"runs/{done}/checkpoints/0000000007.json",
        f"runs/{done}/checkpoints/0000000007/{'a' * 12}/weights",
    ]
    assert run(store) == sorted(unfinished + useless)


def more_pairs(store: Store, tmp_path: Path) -> Snapshot:
    ingest(store, write(tmp_path / "more.parquet", rows(3, first=50)), "pets")
    return score_all(store, "pets", {"sharp@00000000": lambda _: 0.5})


def test_columns_stay_for_as_long_as_what_they_were_computed_for(
    store: Store, snapshot: Snapshot, tmp_path: Path
) -> None:
    names = ["prompt_words", "prompt_unsafe", "pareto_0", "hue.2.prompt_mean"]
    PairTable(store, snapshot, "pets").relation(names)
    rescored = score_all(store, "pets", {"third@00000000": lambda _: 0.25})
    PairTable(store, rescored, "pets").relation(names)
    text, stale = [], []
    for key in store.list("columns"):
        if snapshot.sha[:16] in key:
            stale.append(key)
        elif rescored.sha[:16] not in key:
            text.append(key)
    assert (len(text), len(stale)) == (4, 4), "files with their descriptions: text and words, fronts and scales"
    age_all(store, "columns", days=8)
    age_all(store, "wide", days=8)
    assert [key for key in found(store) if key.startswith("columns/")] == stale, "the revision is what it was"
    more_pairs(store, tmp_path)
    gone = [key for key in found(store, snapshots=0) if key.startswith("columns/")]
    assert gone == list(store.list("columns")), "neither snapshot nor revision is of use any more"


def test_columns_of_another_version_or_of_no_set_go(store: Store, snapshot: Snapshot) -> None:
    PairTable(store, snapshot, "pets").relation(["prompt_words"])
    kept = store.list("columns")
    old = [f"columns/{snapshot.sha[:16]}/pets/{name}.json" for name in ("pareto.v0", "nothing.v1", "prompt-scale.a.v9")]
    for key in old:
        store.put_if_absent(key, b"{}")
    age_all(store, "columns", days=8)
    assert [key for key in found(store) if key.startswith("columns/")] == sorted(old)
    assert run(store) == sorted(old)
    assert store.list("columns") == kept


def test_wide_tables_stay_for_the_newest_snapshot_and_for_cited_ones(
    store: Store, snapshot: Snapshot, tmp_path: Path
) -> None:
    wide_table(store, snapshot, "pets")
    newest = more_pairs(store, tmp_path)
    wide_table(store, newest, "pets")
    stale = [key for key in store.list("wide") if snapshot.sha[:16] in key]
    age_all(store, "wide", days=8)
    assert found(store) == stale
    pin(store, "manual", "paper", snapshot)
    assert found(store) == []


def test_snapshots_retire_only_when_asked_and_only_what_nothing_cites(
    store: Store, snapshot: Snapshot, tmp_path: Path
) -> None:
    second = more_pairs(store, tmp_path)
    commit_scores(store, scorer_id="x@00000000", unit="0" * 16, table=score_table(["a"], ["b"], [1.0]), attempt="test")
    third = create_snapshot(store)
    create_subset(store, parse_recipe(recipe()), snapshot)
    age_all(store, "snapshots", days=400)
    assert found(store) == []
    assert run(store, snapshots=365 * DAY) == ["snapshots/0000000002.json"]
    assert [each.n for each in list_snapshots(store)] == [1, 3]
    assert create_snapshot(store) == third
    assert verify_snapshot(store, second) == [], "its scores stay, as markers name them"


def test_a_snapshot_pinned_after_the_plan_stays(store: Store, snapshot: Snapshot, tmp_path: Path) -> None:
    more_pairs(store, tmp_path)
    age_all(store, "snapshots", days=400)
    planned = plan_collection(store, now=time.time(), ages=Ages(snapshots=DAY))
    assert [each.kind for each in planned.candidates] == ["snapshots"]
    pin(store, "manual", "paper", snapshot)
    assert collect(store, planned).stayed == 1
    assert get_snapshot(store, 1) == snapshot


def test_unfinished_files_of_this_machine_go_after_a_day(store: Store) -> None:
    stale, fresh = store.tmp() / "stale.spill", store.tmp() / "fresh.spill"
    for folder in (stale, fresh):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "part").write_bytes(b"12345")
    age_path(stale, days=2)
    age_path(fresh, days=2)
    (fresh / "deep" / "part").write_bytes(b"still at work")
    refused = store.workspace / "broker" / "rejected" / "x.json"
    refused.parent.mkdir(parents=True)
    refused.write_bytes(b"{")
    age_path(refused, days=2)
    planned = plan_collection(store, now=time.time())
    assert {(each.key, each.bytes) for each in planned.candidates} == {
        ("tmp/stale.spill", 5),
        ("broker/rejected/x.json", 1),
    }
    assert collect(store, planned).taken == 2
    assert sorted(path.name for path in store.tmp().iterdir()) == ["fresh.spill"]


def test_thumbnails_of_units_that_no_dataset_has_go(store: Store, dataset: Dataset) -> None:
    gone, kept = f"thumbs/{'f' * 16}.parquet", f"thumbs/{dataset.slices[0].unit}.parquet"
    for key in (gone, kept, "thumbs/256/ab/picture.webp"):
        store.put_if_absent(key, b"x")
    age_all(store, "thumbs", days=8)
    assert run(store) == [gone]


def test_keys_left_by_a_killed_self_test_go_after_a_day(store: Store) -> None:
    store.put_if_absent("selftest/0123", b"1")
    age(store, "selftest/0123", days=2)
    assert run(store) == ["selftest/0123"]


def test_nothing_is_taken_while_a_marker_cannot_be_read(store: Store, snapshot: Snapshot) -> None:
    store.put_if_absent(ORPHAN, b"x")
    age(store, ORPHAN, days=8)
    key = store.list("commits")[0]
    store.local(key).write_bytes(b"{")
    with pytest.raises(PairsieveError, match=key):
        plan_collection(store, now=time.time())


def test_the_time_is_the_earlier_of_two_clocks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real + 30 * DAY)
    assert abs(store_time(store) - real) < 60
    monkeypatch.setattr(time, "time", lambda: real - 30 * DAY)
    assert store_time(store) == real - 30 * DAY
    assert store.list("selftest") == []


def test_what_vanishes_while_its_age_is_asked_is_new(tmp_path: Path) -> None:
    """Another collector may take a folder between the listing of tmp/ and the look into it."""
    assert extent(tmp_path / "gone") == (0, float("inf"))
    (tmp_path / "spill" / "inner").mkdir(parents=True)
    (tmp_path / "spill" / "inner" / "part").write_bytes(b"1234")
    assert extent(tmp_path / "spill")[0] == 4
