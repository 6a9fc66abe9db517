"""Pins keep snapshots: the first of a name wins, and it is released by name."""

import pytest
from scored import score_table

from ranking.errors import NotFoundError, PairsieveError, StoreError, UsageError
from ranking.store.blobs import Store
from ranking.store.commits import commit_scores
from ranking.store.refs import list_refs, pin, release
from ranking.store.snapshots import (
    Snapshot,
    create_snapshot,
    get_snapshot,
    latest_snapshot,
    list_snapshots,
    snapshot_key,
)
from ranking.store.trash import trash_key


def committed(store: Store, unit: str) -> Snapshot:
    table = score_table(["img"], ["p"], [0.5])
    commit_scores(store, scorer_id="a@00000000", unit=unit * 16, table=table, attempt="test")
    return create_snapshot(store)


def test_a_pin_says_what_it_keeps_and_why(store: Store) -> None:
    snapshot = committed(store, "1")
    made = pin(store, "training", "run-1", snapshot, why="run on best@1")
    assert (made.snapshot, made.sha, made.why) == (1, snapshot.sha, "run on best@1")
    assert list_refs(store) == [made]


def test_pinning_again_gives_the_first_pin_and_another_snapshot_is_refused(store: Store) -> None:
    first, second = committed(store, "1"), committed(store, "2")
    made = pin(store, "manual", "paper", first)
    assert pin(store, "manual", "paper", first, why="again") == made
    with pytest.raises(UsageError, match="manual/paper is on snapshot 1"):
        pin(store, "manual", "paper", second)


def test_a_released_pin_is_gone_and_its_name_free(store: Store) -> None:
    first, second = committed(store, "1"), committed(store, "2")
    pin(store, "manual", "paper", first)
    release(store, "manual", "paper")
    assert list_refs(store) == []
    with pytest.raises(NotFoundError):
        release(store, "manual", "paper")
    assert pin(store, "manual", "paper", second).snapshot == 2


def test_a_snapshot_that_was_put_aside_while_it_was_being_pinned_comes_back(store: Store) -> None:
    first = committed(store, "1")
    committed(store, "2")
    store.move(snapshot_key(1), trash_key("c", snapshot_key(1)))
    pin(store, "manual", "paper", first)
    assert get_snapshot(store, 1) == first
    store.delete(snapshot_key(1))
    with pytest.raises(StoreError, match="collected"):
        pin(store, "manual", "late", first)


@pytest.mark.parametrize("name", ["../x", "A", ""])
def test_names_of_pins_are_checked(store: Store, name: str) -> None:
    with pytest.raises(PairsieveError, match="not allowed"):
        pin(store, "manual", name, committed(store, "1"))


def test_a_damaged_pin_is_said_so(store: Store) -> None:
    store.put_if_absent("refs/manual/paper.json", b'{"kind": "manual"}')
    with pytest.raises(StoreError, match="does not read as a pin"):
        list_refs(store)


def test_numbers_go_on_where_a_retired_snapshot_left_a_gap(store: Store) -> None:
    made = [committed(store, unit) for unit in "123"]
    store.move(snapshot_key(2), trash_key("c", snapshot_key(2)))
    assert list_snapshots(store) == [made[0], made[2]]
    assert latest_snapshot(store) == made[2]
    assert create_snapshot(store) == made[2]
    assert committed(store, "4").n == 4
    with pytest.raises(NotFoundError):
        get_snapshot(store, 2)
