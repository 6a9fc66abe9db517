"""Pieces of work on a store that must survive anything: how to prepare for each, do it, and do it again."""

import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from aged import DAY, age, age_all, age_path
from pickapic_factory import rows, write
from scored import score_table

from ranking import plan
from ranking.checkpoints import checkpoint_folder, drop_checkpoints, list_checkpoints, put_checkpoint
from ranking.collection import Ages, collect, plan_collection, restore
from ranking.datasets import get_dataset
from ranking.errors import NotFoundError
from ranking.exchange.imports import import_scores
from ranking.features.wide import wide_table
from ranking.ingest import ingest
from ranking.names import sha256_file, sha256_hex
from ranking.runs import plan_run
from ranking.store.blobs import Store, clear_errors
from ranking.store.commits import commit_scores, list_commits
from ranking.store.refs import pin, release
from ranking.store.snapshots import create_snapshot, get_snapshot, latest_snapshot, snapshot_numbers
from ranking.store.trash import original_key
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset

SHARP = "sharp@00000000"
RECIPE = parse_recipe(
    {
        "name": "best",
        "dataset": "pets",
        "metric": {"name": "margin", "scorer": "sharp"},
        "take": {"count": 2},
        "seed": 0,
    }
)
"""Parsed here, so that reading which packages are installed is no step of the work."""
AGES = Ages(snapshots=30 * DAY)


@dataclass(frozen=True)
class Scenario:
    """`prepare` makes the store; `work` is what is disturbed; `again` does it once more on what was left and gives
    what must be the same whatever happened."""

    prepare: Callable[[Store, Path], object]
    work: Callable[[Store, Path], object]
    again: Callable[[Store, Path], str]


def source(folder: Path) -> Path:
    return folder / "pairs.parquet"


def score(store: Store) -> None:
    job = plan.create_plan(store, "pets", [SHARP])
    for piece, scorer_ids in plan.open_slices(store, job):
        attempt = plan.record_attempt(store, job, piece.unit, worker="w/1/x")
        items = plan.read_items(store, job, piece)
        uids = items["image_uid"].to_pylist()
        table = score_table(uids, items["prompt_id"].to_pylist(), [len(uid) / 8 for uid in uids])
        for scorer_id in scorer_ids:
            commit_scores(store, scorer_id=scorer_id, unit=piece.unit, table=table, attempt=attempt, items=items)


def written(store: Store, folder: Path) -> None:
    write(source(folder), rows(3))


def ingested(store: Store, folder: Path) -> None:
    written(store, folder)
    ingest(store, source(folder), "pets", slice_items=8)


def scored(store: Store, folder: Path) -> None:
    ingested(store, folder)
    score(store)


def snapshotted(store: Store, folder: Path) -> None:
    scored(store, folder)
    create_snapshot(store)


def with_wide_table(store: Store, folder: Path) -> None:
    snapshotted(store, folder)
    wide_table(store, get_snapshot(store, 1), "pets")


def littered(store: Store, folder: Path) -> None:
    """Old leftovers, a snapshot to retire, and trash whose time has come."""
    snapshotted(store, folder)
    unit = plan.list_plans(store)[0].slices[0].unit
    commit_scores(store, scorer_id="hue@11111111", unit=unit, table=real_table(store), attempt="x")
    create_snapshot(store)
    for key in (f"data/{SHARP}/{unit}/{'a' * 64}.parquet", f"subsets/best/{'c' * 12}/pairs.parquet"):
        store.put_if_absent(key, b"left by somebody who was killed")
    age_all(store, "", days=40)
    store.put_if_absent(f"trash/20200101t000000-00000000/data/{SHARP}/{'d' * 16}/{'e' * 64}.parquet", b"x")
    age(store, store.list("trash")[0], days=2)
    unfinished = store.tmp() / "stale.spill"
    unfinished.mkdir()
    (unfinished / "part").write_bytes(b"x")
    age_path(unfinished, days=40)


def real_table(store: Store) -> object:
    job = plan.list_plans(store)[0]
    items = plan.read_items(store, job, job.slices[0])
    return score_table(items["image_uid"].to_pylist(), items["prompt_id"].to_pylist(), [0.25] * items.num_rows)


def collected(store: Store, folder: Path) -> None:
    littered(store, folder)
    tidy(store, folder)


def tidy(store: Store, folder: Path) -> None:
    collect(store, plan_collection(store, now=time.time(), ages=AGES))


def put_back(store: Store, folder: Path) -> None:
    for collection in store.children("trash"):
        restore(store, collection)


def put_back_again(store: Store, folder: Path) -> str:
    with suppress(NotFoundError):  # then the disturbed work was done
        put_back(store, folder)
    return kept(store)


def kept(store: Store) -> str:
    """Every key but the records of collections, and what lies in the trash, whichever collection put it there."""
    keys = [key for key in store.list("") if not key.startswith(("gc/", "trash/"))]
    return json.dumps(
        [
            keys,
            sorted(original_key(key) for key in store.list("trash")),
            sorted(path.name for path in store.tmp().iterdir()),
        ]
    )


def subset(store: Store) -> str:
    latest = latest_snapshot(store)
    assert latest is not None
    return create_subset(store, RECIPE, latest).ref


def scored_again(store: Store, folder: Path) -> str:
    score(store)
    job = plan.create_plan(store, "pets", [SHARP])
    assert plan.open_slices(store, job) == []
    return create_snapshot(store).sha


def tidied_again(store: Store, folder: Path) -> str:
    tidy(store, folder)
    # And once more in a month: what the killed one had begun to move is young, and so is what it left unfinished.
    later = plan_collection(store, now=time.time() + 40 * DAY, ages=replace(AGES, grace=365 * DAY))
    collect(store, later)
    return kept(store)


def pinned_again(store: Store, folder: Path) -> str:
    release(store, "manual", "old") if store.exists("refs/manual/old.json") else None
    return pin(store, "manual", "new", get_snapshot(store, 1)).sha


def pins(store: Store, folder: Path) -> None:
    pin(store, "manual", "new", get_snapshot(store, 1))
    release(store, "manual", "old")


def with_pin(store: Store, folder: Path) -> None:
    snapshotted(store, folder)
    pin(store, "manual", "old", get_snapshot(store, 1))


def build(store: Store) -> str:
    path = wide_table(store, get_snapshot(store, 1), "pets")
    return f"{sha256_file(path)} {store.list('wide')} {store.list('graphs')}"


def put(store: Store) -> str:
    store.put_if_absent("hints/deep/er/a", b"x" * 5000)
    return sha256_hex(store.get("hints/deep/er/a"))


def with_table(store: Store, folder: Path) -> None:
    """A dataset, and somebody's scores of it."""
    ingested(store, folder)
    paths = get_dataset(store, "pets").items_paths(store)
    items = pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths]).to_pylist()
    lines = [f"{item['image_uid']},{item['prompt']},{len(item['image_uid']) / 8}" for item in items]
    (folder / "scores.csv").write_text("\n".join(["image_uid,prompt,score", *lines]))


def take_scores(store: Store, folder: Path) -> str:
    report = import_scores(store, [folder / "scores.csv"], dataset="pets", scorer="taste")
    files = sorted(commit.file for commit in list_commits(store))
    return f"{report.scorer_id} {report.units_committed + report.units_known} {files}"


def with_run(store: Store, folder: Path) -> None:
    snapshotted(store, folder)
    everything = {"name": "all", "dataset": "pets", "metric": {"name": "random"}, "take": {"percent": 100}}
    create_subset(store, parse_recipe(everything), get_snapshot(store, 1))
    put_aside(store, 3)


def put_aside(store: Store, step: int) -> None:
    """A checkpoint of a run, of which the latest stays, as a training does every so often."""
    run = plan_run(store, "all", {"steps": 9}).run_id
    with clear_errors("the state of a training"):
        state = Path(tempfile.mkdtemp(dir=store.tmp()))
        (state / "state.json").write_text(f'{{"step":{step}}}')
        (state / "weights").write_bytes(bytes([step]) * 9000)
    put_checkpoint(store, run, step, state, attempt=f"{os.getpid():012d}", facts={"steps": 9})
    drop_checkpoints(store, run, keep=1)


def put_aside_again(store: Store, folder: Path) -> str:
    put_aside(store, 6)
    latest = list_checkpoints(store, plan_run(store, "all", {"steps": 9}).run_id)[-1]
    found = checkpoint_folder(store, latest)
    return f"{latest.step} {(found / 'state.json').read_text()} {sha256_file(found / 'weights')}"


SCENARIOS: dict[str, Scenario] = {
    "one key": Scenario(lambda store, folder: None, lambda store, folder: put(store), lambda store, folder: put(store)),
    "commit": Scenario(ingested, lambda store, folder: score(store), scored_again),
    "ingest": Scenario(
        written,
        lambda store, folder: ingest(store, source(folder), "pets", slice_items=8),
        lambda store, folder: ingest(store, source(folder), "pets", slice_items=8).revision_sha,
    ),
    "import": Scenario(with_table, take_scores, take_scores),
    "snapshot": Scenario(
        scored,
        lambda store, folder: create_snapshot(store),
        lambda store, folder: f"{create_snapshot(store).sha} {snapshot_numbers(store)}",
    ),
    "wide table": Scenario(
        snapshotted,
        lambda store, folder: wide_table(store, get_snapshot(store, 1), "pets"),
        lambda store, folder: build(store),
    ),
    "subset": Scenario(with_wide_table, lambda store, folder: subset(store), lambda store, folder: subset(store)),
    "checkpoints": Scenario(with_run, lambda store, folder: put_aside(store, 6), put_aside_again),
    "pins": Scenario(with_pin, pins, pinned_again),
    "collection": Scenario(littered, tidy, tidied_again),
    "restoring": Scenario(collected, put_back, put_back_again),
}
