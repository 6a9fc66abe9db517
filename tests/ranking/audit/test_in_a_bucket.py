"""Audit and collection on a store in a bucket, through a real S3 server."""

import time
from pathlib import Path

from aged import DAY
from pickapic_factory import rows, write
from scored import score_all

from ranking.audit import audit
from ranking.collection import collect, plan_collection, restore, store_time
from ranking.features.wide import wide_table
from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.store.commits import list_commits

ORPHAN = f"data/sharp@00000000/{'a' * 16}/{'b' * 64}.parquet"


def scored(bucket: str, folder: Path) -> Store:
    store = Store.open(bucket)
    ingest(store, write(folder / "pairs.parquet", rows(5)), "pets", slice_items=4)
    wide_table(store, score_all(store, "pets", {"sharp@00000000": lambda uid: len(uid) / 8}), "pets")
    return store


def test_an_audit_reads_the_bucket_and_not_its_copies(bucket: str, tmp_path: Path) -> None:
    store = scored(bucket, tmp_path)
    report = audit(store)
    assert (report.findings, report.looked[8]["wide tables"]) == ((), 1)
    file = list_commits(store)[0].file
    held = store.get(file)
    store.delete(file)
    assert [(each.invariant, each.key) for each in audit(store).errors] == [(4, file)]
    store.put_if_absent(file, held[:-1] + b"x")
    assert [(each.invariant, each.key) for each in audit(store).errors] == [(3, file)]


def test_a_collection_moves_what_nothing_names_and_can_move_it_back(bucket: str, tmp_path: Path) -> None:
    store = scored(bucket, tmp_path)
    store.put_if_absent(ORPHAN, b"12345")
    now = store_time(store)
    assert abs(now - time.time()) < 60
    assert plan_collection(store, now=now).candidates == ()
    done = collect(store, plan_collection(store, now=now + 30 * DAY))
    assert (done.taken, done.taken_bytes, store.exists(ORPHAN), done.purged) == (1, 5, False, 0)
    assert done.id is not None and restore(store, done.id) == [ORPHAN]
    assert store.get(ORPHAN) == b"12345" and store.list("trash") == []
    assert audit(store).ok
