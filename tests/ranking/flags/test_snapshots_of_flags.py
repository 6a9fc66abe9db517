"""A snapshot sees the flags that stand when it is made: no more, no less, and for ever."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranking.audit import audit
from ranking.errors import StoreError
from ranking.features.wide import wide_table
from ranking.flags.marking import add_mark, add_marks, withdraw
from ranking.flags.pinned import content_sha, pinned_marks
from ranking.names import canonical_json, sha256_hex
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot, create_snapshot, get_snapshot, verify_snapshot
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset, explain, rank

FLAGS = ["flags", "flag_wrong_label", "flag_both_bad", "flag_unsafe", "flag_duplicate"]


@pytest.fixture
def store(scored: Path, tmp_path: Path) -> Store:
    return Store.open(shutil.copytree(scored, tmp_path / "store"))


@pytest.fixture
def snapshot(store: Store) -> Snapshot:
    return get_snapshot(store, 1)


def flags_of(store: Store, snapshot: Snapshot) -> dict[str, list[object]]:
    table = pq.read_table(wide_table(store, snapshot, "pets"), columns=["pair_id", *FLAGS])
    return {row.pop("pair_id"): list(row.values()) for row in table.to_pylist()}


def recipe(**more: object) -> dict[str, object]:
    return {
        "name": "r",
        "dataset": "pets",
        "metric": {"name": "margin", "scorer": "a"},
        "take": {"percent": 100},
    } | more


def taken(store: Store, snapshot: Snapshot, **more: object) -> set[str]:
    ranked = rank(store, snapshot, parse_recipe(recipe(**more)))
    return set(ranked.filter(ranked["taken"])["pair_id"].to_pylist())


def test_without_flags_a_snapshot_is_what_it_was_before_there_were_any(store: Store, snapshot: Snapshot) -> None:
    record = json.loads(store.get("snapshots/0000000001.json"))
    assert "flags" not in record
    # The hash of old: over datasets, scorers and members alone.
    content = {name: record[name] for name in ("datasets", "scorers", "members")}
    assert snapshot.sha == sha256_hex(canonical_json(content))
    assert get_snapshot(store, 1).flags is None


def test_a_new_mark_makes_a_new_snapshot_and_the_old_one_stays_as_it_was(store: Store, snapshot: Snapshot) -> None:
    pairs = list(flags_of(store, snapshot))
    add_mark(store, pairs[0], kind="unsafe", by="ann", door="cli")
    add_mark(store, pairs[0], kind="unsafe", by="bob", door="cli")
    add_mark(store, pairs[1], kind="wrong_label", by="ann", door="cli")
    newer = create_snapshot(store)
    assert newer.n == snapshot.n + 1
    assert create_snapshot(store) == newer
    nothing = [0, False, False, False, False]
    assert set(map(tuple, flags_of(store, snapshot).values())) == {tuple(nothing)}
    expected = dict.fromkeys(pairs, nothing)
    expected |= {pairs[0]: [2, False, False, True, False], pairs[1]: [1, True, False, False, False]}
    assert flags_of(store, newer) == expected
    assert verify_snapshot(store, snapshot) == verify_snapshot(store, newer) == []
    assert audit(store, every=True).ok


def test_a_withdrawn_mark_is_gone_from_later_snapshots_only(store: Store, snapshot: Snapshot) -> None:
    pair = next(iter(flags_of(store, snapshot)))
    mark, _ = add_mark(store, pair, kind="unsafe", by="ann", door="cli")
    flagged = create_snapshot(store)
    withdraw(store, mark.id, by="ann", door="cli")
    after = create_snapshot(store)
    assert (flagged.n, after.n) == (2, 3)
    assert flags_of(store, flagged)[pair][0] == 1
    assert flags_of(store, after)[pair][0] == 0
    assert after.sha == snapshot.sha, "nothing is flagged, as in the beginning"


def test_the_same_marks_are_the_same_snapshot_on_another_machine(
    store: Store, snapshot: Snapshot, tmp_path: Path
) -> None:
    pairs = list(flags_of(store, snapshot))
    add_marks(store, "pets", pa.table({"pair_id": pairs, "kind": ["duplicate"] * len(pairs)}), by="ann")
    other = Store.open(shutil.copytree(tmp_path / "store", tmp_path / "elsewhere"))
    assert create_snapshot(store).sha == create_snapshot(other).sha


def test_the_hash_of_a_table_of_texts_follows_from_the_texts_alone() -> None:
    whole = pa.table({"a": ["x", None, "", "zz"], "b": ["1", "2", "3", "4"]})
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 2), whole.slice(3)])
    assert content_sha(whole) == content_sha(pieces)
    for other in ({"a": ["x", "", None, "zz"]}, {"a": ["", None, "x", "zz"]}, {"a": ["x", None, "z", "z"]}):
        assert content_sha(pa.table(other | {"b": ["1", "2", "3", "4"]})) != content_sha(whole)


def test_lost_or_changed_marks_of_a_snapshot_are_told(store: Store, snapshot: Snapshot) -> None:
    pair = next(iter(flags_of(store, snapshot)))
    add_mark(store, pair, kind="unsafe", by="ann", door="cli")
    newer = create_snapshot(store)
    (key,) = store.list("flags/pets/standing")
    table = pq.read_table(store.local(key))
    store.delete(key)
    assert verify_snapshot(store, newer) == [f"{key} is missing from the store"]
    forged = table.set_column(table.schema.get_field_index("kind"), "kind", pa.array(["duplicate"]))
    path = store.tmp() / "forged"
    pq.write_table(forged, path)
    store.put_file(key, path)
    with pytest.raises(StoreError, match="does not say what its name says"):
        pinned_marks(store, newer.flags, "pets")
    assert [each.key for each in audit(store).errors] == ["snapshots/0000000002.json"]


def test_recipes_leave_marked_pairs_out_unless_they_keep_them(store: Store, snapshot: Snapshot) -> None:
    before = taken(store, snapshot)
    marked = sorted(before)[:2]
    add_mark(store, marked[0], kind="unsafe", by="ann", door="cli")
    add_mark(store, marked[1], kind="wrong_label", by="ann", why="legs", door="cli")
    newer = create_snapshot(store)
    assert taken(store, newer) == before - set(marked)
    assert taken(store, newer, flags="keep") == before
    assert taken(store, snapshot) == before, "the older snapshot means what it meant"
    # Where scorers decide, a wrong human label is no reason to leave a pair out.
    assert marked[1] in taken(store, newer, labels={"relabel": "a"})
    assert marked[0] not in taken(store, newer, labels={"relabel": "a"})
    assert marked[1] in taken(store, newer, labels={"vote": ["a"]})
    assert marked[1] not in taken(store, newer, labels={"vote": ["a"], "ties": "human"})
    only = taken(store, newer, flags="keep", where={"field": "flag_wrong_label", "value": True})
    assert only == {marked[1]}


def test_an_explanation_says_who_flagged_a_pair_and_why(store: Store, snapshot: Snapshot) -> None:
    pair = sorted(taken(store, snapshot))[0]
    mark, _ = add_mark(store, pair, kind="wrong_label", by="ann", why="three legs", door="cli")
    told = explain(store, create_snapshot(store), parse_recipe(recipe()), pair_id=pair)
    assert (told.taken, told.stage) == (False, "flags")
    assert told.reason == f"a person flagged it: wrong label, by ann on {mark.created[:10]} (three legs)"
    assert "flags: keep" in told.change


def test_a_subset_counts_what_flags_left_out(store: Store, snapshot: Snapshot) -> None:
    before = taken(store, snapshot)
    for pair in sorted(before)[:3]:
        add_mark(store, pair, kind="both_bad", by="ann", door="cli")
    subset = create_subset(store, parse_recipe(recipe()), create_snapshot(store))
    assert subset.rows == len(before) - 3
    assert "flags" in json.dumps(subset.statistics)
    assert subset.recipe["flags"] == "exclude"
    assert audit(store).ok
