"""What is known of a whole dataset is counted once for a snapshot, kept, and counted again when that is damaged."""

import json
from pathlib import Path

import pytest
from pickapic_factory import Row, write
from scored import score_all

from ranking.collection.derived import derived_files, describes
from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot
from ranking.subsets import census
from ranking.subsets.recipe import Recipe, parse_recipe
from ranking.subsets.select import create_subset


@pytest.fixture
def snapshot(store: Store, tmp_path: Path) -> Snapshot:
    rows = [Row(f"cat {n % 3}", f"a{n}", f"b{n}", winner=None if n == 4 else n % 2, user=n % 4) for n in range(9)]
    ingest(store, write(tmp_path / "pairs.parquet", rows), "pets")
    return score_all(store, "pets", {"sharp@00000000": lambda uid: float(ord(uid[0]) * 3 + int(uid[1:]))})


def recipe(count: int) -> Recipe:
    metric = {"name": "margin", "scorer": "sharp"}
    return parse_recipe({"name": f"best-{count}", "dataset": "pets", "metric": metric, "take": {"count": count}})


def test_a_second_recipe_counts_the_dataset_no_more(
    store: Store, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = create_subset(store, recipe(3), snapshot).statistics
    (key,) = store.list("statistics")
    counted: list[int] = []
    real = census.count_all
    monkeypatch.setattr(census, "count_all", lambda *given: (counted.append(1), real(*given)))
    second = create_subset(store, recipe(5), snapshot).statistics
    assert second["before"] == first["before"] and not counted
    assert [each["before"] for each in second["histograms"]] == [each["before"] for each in first["histograms"]]
    record = json.loads(store.get(key))
    record["sizes"]["pairs"] += 1
    for damaged in (json.dumps(record).encode(), b"{", b"[]", b'{"sha256": 1}'):
        store.delete(key)
        store.put_if_absent(key, damaged)
        counted.clear()
        for each in store.list("subsets"):
            store.delete(each)
        assert create_subset(store, recipe(5), snapshot).statistics == second and counted


def test_collection_knows_what_was_counted(store: Store, snapshot: Snapshot) -> None:
    create_subset(store, recipe(3), snapshot)
    (key,) = store.list("statistics")
    assert describes(key, frozenset([snapshot.sha])) and not describes(key, frozenset(["0" * 64]))
    assert not describes(key.replace(".v1.", ".v0."), frozenset([snapshot.sha]))
    assert derived_files(store, frozenset([snapshot.sha]))[key] == ()
