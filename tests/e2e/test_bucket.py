"""The whole product on a store in a bucket: the same commands, the same hashes as in a folder, and nothing but copies
on this machine."""

import shutil
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command_line import pairsieve
from fastapi.testclient import TestClient
from pickapic_factory import rows, write
from scored import score_all

from ranking.collection import collect, plan_collection, restore
from ranking.datasets import get_dataset
from ranking.features.wide import wide_table
from ranking.ingest import ingest
from ranking.plan import create_plan
from ranking.settings import Settings
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot, verify_snapshot
from ranking.subsets.catalog import Subset, subset_pairs
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from service.app import create_app
from workers.publish import publish_plan

RECIPE = {"name": "best", "dataset": "pets", "metric": {"name": "margin", "scorer": "sharp"}, "take": {"percent": 50}}


def filled(store: Store, source: Path) -> tuple[Snapshot, Subset]:
    """A store in which a dataset was ingested, scored and cut."""
    ingest(store, source, "pets", slice_items=5)
    scorers = {
        "sharp@00000000": lambda uid: len(uid) / 8 + int(uid[4:]) / 64,
        "hue@11111111": lambda uid: None if uid == "img-4" else 1 / (1 + int(uid[4:])),
    }
    snapshot = score_all(store, "pets", scorers)
    return snapshot, create_subset(store, parse_recipe(RECIPE), snapshot)


def test_a_bucket_and_a_folder_with_the_same_content_have_the_same_hashes(tmp_path: Path, bucket: str) -> None:
    source = write(tmp_path / "pairs.parquet", rows(40), row_group_size=10)
    folder, remote = Store.open(tmp_path / "store"), Store.open(bucket)
    (here, top), (there, best) = filled(folder, source), filled(remote, source)
    assert there.sha == here.sha
    assert best.sha256 == top.sha256
    assert subset_pairs(remote, best).equals(subset_pairs(folder, top))
    assert verify_snapshot(remote, there) == []
    wide = wide_table(remote, there, "pets")
    assert pq.read_table(wide).equals(pq.read_table(wide_table(folder, here, "pets")))


def test_another_machine_sees_it_all_and_a_lost_cache_costs_nothing_but_time(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, subset = filled(Store.open(bucket), write(tmp_path / "pairs.parquet", rows(12)))
    monkeypatch.setenv("PAIRSIEVE_CACHE", str(tmp_path / "another"))
    store = Store.open(bucket)
    assert subset_pairs(store, subset).num_rows == subset.rows > 0
    assert get_dataset(store, "pets").pairs_paths(store)
    shutil.rmtree(tmp_path / "another")
    assert pq.read_table(wide_table(store, snapshot, "pets")).num_rows == 12
    assert filled(store, tmp_path / "pairs.parquet") == (snapshot, subset)


def test_the_commands_and_the_api_work_on_a_bucket(tmp_path: Path, bucket: str) -> None:
    source = write(tmp_path / "pairs.parquet", rows(12))
    options = ("--dataset", "pets", "--scorer", "technical", "--top", "50%", "--json")
    subsets = {}
    for uri in (bucket, tmp_path / "store"):
        for words in (
            ("ingest", source, "--dataset", "pets", "--json"),
            ("score", "pets", "--scorers", "technical", "--device", "cpu", "--json"),
            ("snapshot", "create", "--json"),
            ("snapshot", "verify", "--json"),
            ("store", "audit", "--json"),
            ("store", "gc", "--json"),
        ):
            done = pairsieve("--store", uri, *words)
            assert done.status == 0, done.err
        subsets[uri] = pairsieve("--store", uri, "subset", "create", "top", *options).json()
    assert subsets[bucket]["version"] == subsets[tmp_path / "store"]["version"]
    with TestClient(create_app(Settings(store=bucket)), base_url="http://127.0.0.1") as client:
        assert client.get("/readyz").status_code == 200
        page = client.get("/v1/pairs", params={"dataset": "pets", "limit": 5})
        assert page.status_code == 200, page.text
        assert len(page.json()["items"]) == 5
        uid = page.json()["items"][0]["images"][0]["uid"]
        assert client.get(f"/v1/images/{uid}", params={"size": 256, "dataset": "pets"}).status_code == 200


def test_what_nothing_names_is_collected_brought_back_and_deleted(tmp_path: Path, bucket: str) -> None:
    store = Store.open(bucket)
    snapshot, _ = filled(store, write(tmp_path / "pairs.parquet", rows(12)))
    orphan, day = f"data/sharp@00000000/aaaaaaaaaaaaaaaa/{'b' * 64}.parquet", 86_400.0
    store.put_if_absent(orphan, b"four")
    before, now = store.list(""), time.time()
    assert plan_collection(store, now=now).candidates == ()
    plan = plan_collection(store, now=now + 8 * day)
    assert orphan in [candidate.key for candidate in plan.candidates]
    done = collect(store, plan)
    assert done.id is not None and not store.exists(orphan)
    assert verify_snapshot(store, snapshot) == []
    restore(store, done.id)
    assert store.list("") == sorted([*before, f"gc/{done.id}.json"])
    collect(store, plan_collection(store, now=now + 8 * day))
    collect(store, plan_collection(store, now=now + 16 * day))
    assert store.list("trash") == [] and not store.exists(orphan)
    assert verify_snapshot(store, snapshot) == []


def test_without_redis_hints_wait_on_this_machine_and_none_is_put_into_the_bucket(tmp_path: Path, bucket: str) -> None:
    store = Store.open(bucket)
    ingest(store, write(tmp_path / "pairs.parquet", rows(12)), "pets", slice_items=5)
    plan = create_plan(store, "pets", ["sharp@00000000"])
    assert publish_plan(store, plan) == len(plan.slices) > 1
    waiting = [path for path in (store.workspace / "broker").rglob("*.json") if path.is_file()]
    assert len(waiting) == len(plan.slices)
    assert [key for key in store.list("") if "broker" in key] == []


def test_a_bucket_that_cannot_be_used_is_one_line_on_the_command_line(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for words in (("snapshot", "list"), ("up",)):
        refused = pairsieve("--store", bucket, *words)
        assert refused.status == 1
        assert refused.err.count("\n") == 1 and "127.0.0.1:9 does not answer" in refused.err, refused.err
