"""Workers on a real Redis: one is killed in the middle of a slice, Redis forgets everything, and it costs time only."""

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from pickapic_factory import rows, with_raw, write
from PIL import Image
from processes import Processes

from ranking.ingest import ingest
from ranking.plan import Plan, attempts, create_plan, dead_slices, open_slices, progress
from ranking.store.blobs import Store
from ranking.store.commits import list_commits
from ranking.store.snapshots import create_snapshot, verify_snapshot
from workers.drive import score_here
from workers.publish import publish_plan
from workers.scorers.registry import load_committee, resolve

pytestmark = pytest.mark.redis

PAIRS, SLICE = 18, 5


def photograph(seed: int) -> bytes:
    """Large enough that a slice of them takes a moment."""
    noise = np.random.default_rng(seed).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((1280, 960)).save(out, "JPEG", quality=80)
    return out.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "pairs.parquet"
    pictures = [photograph(seed) for seed in range(4)]
    return write(
        path,
        [
            with_raw(row, jpg_0=pictures[i % 4], jpg_1=pictures[(i + 1) % 4])
            for i, row in enumerate(rows(PAIRS, prompts=PAIRS))
        ],
    )


@pytest.fixture
def world(
    redis_server: str, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Store, Processes]]:
    """A store with a dataset, an empty Redis, and short times; nothing runs yet."""
    redis.Redis.from_url(redis_server).flushall()
    env = {
        "PAIRSIEVE_STORE": str(tmp_path / "store"),
        "PAIRSIEVE_BROKER": redis_server,
        "PAIRSIEVE_RECONCILE_SECONDS": "1",
        "PAIRSIEVE_LEASE_SECONDS": "5",
    }
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    store = Store.open(env["PAIRSIEVE_STORE"])
    ingest(store, source, "pets", slice_items=SLICE)
    (tmp_path / "logs").mkdir()
    processes = Processes(tmp_path / "logs", env)
    yield store, processes
    processes.stop()


def tried(store: Store, plan: Plan) -> list[tuple[str, int]]:
    """(unit, process id) of every attempt."""
    found = [attempt for piece in plan.slices for attempt in attempts(store, plan, piece.unit)]
    return [(attempt.unit, int(attempt.worker.split("/")[-2])) for attempt in found]


def committed(store: Store, unit: str) -> bool:
    return any(commit.unit == unit for commit in list_commits(store))


def hold_in_the_middle(store: Store, plan: Plan) -> tuple[str, int] | None:
    """A unit that a process has begun and not committed, the process held still; None if none is."""
    for unit, pid in tried(store, plan):
        if not committed(store, unit):
            os.kill(pid, signal.SIGSTOP)
            if not committed(store, unit):
                return unit, pid
            os.kill(pid, signal.SIGCONT)
    return None


def assert_exactly_once(store: Store, plan: Plan, expected: pa.Table) -> None:
    """Every unit has one marker, every item one row, and the rows are those of an undisturbed run."""
    state = progress(store, plan)
    assert (state.units_done, state.units_dead) == (state.units_total, 0) and not dead_slices(store, plan)
    markers = [commit for commit in list_commits(store) if commit.scorer_id in plan.scorer_ids]
    assert len({(marker.scorer_id, marker.unit) for marker in markers}) == len(markers) == state.units_total
    assert scores(store, plan).equals(expected)
    assert verify_snapshot(store, create_snapshot(store)) == []


def scores(store: Store, plan: Plan) -> pa.Table:
    """Every committed row of the plan's scorers, sorted."""
    tables = [
        pq.read_table(store.local(commit.file), partitioning=None).append_column(
            "scorer", pa.array([commit.scorer_id] * commit.rows)
        )
        for commit in list_commits(store)
        if commit.scorer_id in plan.scorer_ids
    ]
    keys = [(name, "ascending") for name in ("scorer", "image_uid", "prompt_id")]
    return pa.concat_tables(tables).sort_by(keys).combine_chunks()


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The scores of a run that nothing disturbed, in one process and without a broker."""
    store = Store.open(tmp_path_factory.mktemp("calm"))
    ingest(store, source, "pets", slice_items=SLICE)
    plan = create_plan(store, "pets", resolve(["technical"]).values())
    score_here(store, plan, load_committee(["technical"], "cpu"))
    return scores(store, plan)


def test_a_worker_killed_in_the_middle_of_a_slice_costs_nothing_but_time(
    world: tuple[Store, Processes], expected: pa.Table
) -> None:
    store, processes = world
    workers = [processes.start("worker"), processes.start("worker")]
    processes.start("beat")
    processes.wait_for("two ready workers", lambda: processes.logs().count(" ready.") == 2)
    plan = create_plan(store, "pets", resolve(["technical"]).values())
    assert publish_plan(store, plan) == len(plan.slices) >= 6

    unit, child = processes.wait_for("slice in hand", lambda: hold_in_the_middle(store, plan), every=0.02)
    main = psutil.Process(child).parent()
    assert main is not None and main.pid in [worker.pid for worker in workers]
    os.kill(main.pid, signal.SIGKILL)
    processes.wait_for("death of its child", lambda: not psutil.pid_exists(child))

    processes.wait_for("end of the work", lambda: not open_slices(store, plan))
    assert_exactly_once(store, plan, expected)
    hands = {pid for _, pid in tried(store, plan)}
    assert len(hands) == 2, "both workers took a share"
    assert len([each for each in tried(store, plan) if each[0] == unit]) == 2


def test_a_redis_that_forgets_everything_costs_nothing_but_time(
    world: tuple[Store, Processes], expected: pa.Table, redis_server: str
) -> None:
    store, processes = world
    processes.start("worker")
    processes.wait_for("ready worker", lambda: " ready." in processes.logs())
    for nonsense in ("", "torn {", "[1, 2]", '{"body": "e30=", "headers": {}, "properties": {}}'):
        redis.Redis.from_url(redis_server).lpush("pairsieve:score", nonsense)
    plan = create_plan(store, "pets", resolve(["technical"]).values())
    publish_plan(store, plan)
    processes.wait_for("first attempt", lambda: tried(store, plan), every=0.02)
    assert processes.logs().count("what is not a message") == 4
    redis.Redis.from_url(redis_server).flushall()
    left = len(open_slices(store, plan))
    assert left > 1
    processes.start("beat")
    processes.wait_for("end of the work", lambda: not open_slices(store, plan))
    assert_exactly_once(store, plan, expected)
