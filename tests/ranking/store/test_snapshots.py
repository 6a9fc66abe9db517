"""Snapshots are numbered, hashed and immutable; the same content is the same snapshot."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from pickapic_factory import rows, write
from scored import score_all, score_table

from ranking.datasets import Dataset
from ranking.errors import NotFoundError, StoreError
from ranking.images.facts import FACTS_ID
from ranking.ingest import ingest
from ranking.names import sha256_hex
from ranking.schema import FACTS
from ranking.store.blobs import Store
from ranking.store.commits import commit_facts, commit_scores
from ranking.store.snapshots import (
    create_snapshot,
    get_snapshot,
    latest_snapshot,
    list_snapshots,
    verify_snapshot,
)


def commit(store: Store, scorer_id: str, unit: str, n: int) -> None:
    table = score_table([f"img-{i}" for i in range(n)], ["p"] * n, [0.5] * n)
    commit_scores(store, scorer_id=scorer_id, unit=unit * 16, table=table, attempt="test")


def test_a_new_store_has_no_snapshot(store: Store) -> None:
    assert latest_snapshot(store) is None
    assert list_snapshots(store) == []
    with pytest.raises(NotFoundError):
        get_snapshot(store, 1)


def test_a_snapshot_lists_every_commit_and_pins_the_datasets(store: Store, dataset: Dataset) -> None:
    snapshot = score_all(store, "pets", {"a@00000000": lambda _: 0.5})
    assert {member.unit for member in snapshot.members} == {piece.unit for piece in dataset.slices}
    assert snapshot.datasets["pets"].sha == dataset.revision_sha
    assert snapshot.scorers == {"a": "a@00000000"}
    assert verify_snapshot(store, snapshot) == []


def test_image_facts_are_members_but_no_scorer(store: Store) -> None:
    commit(store, "a@00000000", "1", 2)
    items = pa.table({"image_uid": ["img-0"]})
    row = dict.fromkeys(FACTS.names) | {"image_uid": "img-0", "status": "missing"}
    facts = pa.Table.from_pylist([row], schema=FACTS)
    commit_facts(store, facts_id=FACTS_ID, unit="1" * 16, table=facts, attempt="test", items=items)
    snapshot = create_snapshot(store)
    assert snapshot.scorers == {"a": "a@00000000"}
    assert [member.rows for member in snapshot.members if member.scorer_id == FACTS_ID] == [1]
    assert [member.scorer_id for member in snapshot.score_members] == ["a@00000000"]
    assert verify_snapshot(store, snapshot) == []


def test_nothing_new_gives_the_latest_snapshot_again(store: Store) -> None:
    commit(store, "a@00000000", "1", 2)
    first = create_snapshot(store)
    assert create_snapshot(store) == first
    commit(store, "a@00000000", "2", 2)
    second = create_snapshot(store)
    assert (second.n, second.parent) == (2, first.sha)
    assert list_snapshots(store) == [first, second]
    assert get_snapshot(store, 1) == first


def test_a_new_revision_alone_gives_a_new_snapshot(store: Store, dataset: Dataset, tmp_path: Path) -> None:
    first = create_snapshot(store)
    ingest(store, write(tmp_path / "more.parquet", rows(3, first=90)), dataset.name)
    assert create_snapshot(store).n == first.n + 1


def test_snapshots_made_at_once_are_one(store: Store) -> None:
    commit(store, "a@00000000", "1", 2)
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: create_snapshot(store), range(6)))
    assert {snapshot.n for snapshot in made} == {1}
    assert len(store.list("snapshots")) == 1


def test_another_machine_gets_the_same_hash(tmp_path: Path) -> None:
    shas = []
    for place in ("here", "elsewhere"):
        store = Store.open(tmp_path / place / "store")
        ingest(store, write(tmp_path / place / "pairs.parquet", rows(8)), "pets", slice_items=4)
        shas.append(score_all(store, "pets", {"a@00000000": lambda uid: len(uid) / 8}).sha)
    assert shas[0] == shas[1]


def test_of_two_versions_of_a_scorer_the_one_with_more_rows_stands_for_the_name(store: Store) -> None:
    commit(store, "a@11111111", "1", 2)
    commit(store, "a@22222222", "1", 3)
    assert create_snapshot(store).scorers == {"a": "a@22222222"}
    commit(store, "a@11111111", "2", 1)
    assert create_snapshot(store).scorers == {"a": "a@11111111"}, "equal rows: the lexically first"


def test_a_damaged_score_file_is_found_by_verifying(store: Store) -> None:
    commit(store, "a@00000000", "1", 2)
    snapshot = create_snapshot(store)
    path = store.local(snapshot.members[0].file)
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert [problem.partition(" ")[0] for problem in verify_snapshot(store, snapshot)] == [snapshot.members[0].file]
    path.unlink()
    assert "missing" in verify_snapshot(store, snapshot)[0]


def test_a_committed_file_that_is_gone_or_cut_stops_the_next_snapshot(store: Store) -> None:
    commit(store, "a@00000000", "1", 2)
    path = store.local(create_snapshot(store).members[0].file)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="bytes, not"):
        create_snapshot(store)
    path.unlink()
    with pytest.raises(StoreError, match="is missing"):
        create_snapshot(store)


def test_a_snapshot_that_was_tampered_with_is_refused(store: Store) -> None:
    commit(store, "a@00000000", "1", 2)
    member = create_snapshot(store).members[0]
    path = store.local("snapshots/0000000001.json")
    path.write_bytes(path.read_bytes().replace(member.sha256.encode(), sha256_hex(b"else").encode()))
    with pytest.raises(StoreError, match="does not have its sha"):
        get_snapshot(store, 1)
