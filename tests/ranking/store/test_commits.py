"""A commit makes a unit's scores real once, and refuses scores that later readers would stumble over."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scored import score_table

from ranking.errors import StoreError, UsageError
from ranking.names import sha256_file
from ranking.schema import FACTS, SCORES
from ranking.store.blobs import Store
from ranking.store.commits import (
    commit_facts,
    commit_scores,
    committed_units,
    get_commit,
    is_committed,
    list_commits,
)

SCORER, UNIT = "clip@0123456789ab", "00112233445566aa"
GOOD = score_table(["a", "b", "c"], ["p", "p", "q"], [0.25, None, -1.5])


def commit(store: Store, table: pa.Table, *, items: pa.Table | None = None, attempt: str = "try") -> bool:
    return commit_scores(store, scorer_id=SCORER, unit=UNIT, table=table, attempt=attempt, items=items)


def test_a_commit_names_a_file_that_holds_the_scores(store: Store) -> None:
    assert commit(store, GOOD)
    marker = get_commit(store, scorer_id=SCORER, unit=UNIT)
    path = store.local(marker.file)
    assert pq.read_table(path, partitioning=None).equals(GOOD)
    assert (marker.sha256, marker.bytes) == (sha256_file(path), path.stat().st_size)
    assert (marker.rows, marker.n_bad, marker.attempt) == (3, 1, "try")
    assert list_commits(store) == [marker]


def test_the_second_commit_of_a_unit_changes_nothing(store: Store) -> None:
    commit(store, GOOD)
    before = get_commit(store, scorer_id=SCORER, unit=UNIT)
    assert not commit(store, score_table(["a"], ["p"], [0.5]), attempt="late")
    assert get_commit(store, scorer_id=SCORER, unit=UNIT) == before


def test_of_racing_commits_with_different_scores_one_wins(store: Store) -> None:
    tables = [score_table(["a"], ["p"], [float(i)]) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: commit(store, tables[i], attempt=str(i)), range(8)))
    assert won.count(True) == 1
    marker = get_commit(store, scorer_id=SCORER, unit=UNIT)
    assert marker.attempt == str(won.index(True))
    assert pq.read_table(store.local(marker.file), partitioning=None)["score"].to_pylist() == [float(marker.attempt)]


def test_units_are_known_by_scorer(store: Store) -> None:
    assert not is_committed(store, scorer_id=SCORER, unit=UNIT)
    commit(store, GOOD)
    assert is_committed(store, scorer_id=SCORER, unit=UNIT)
    assert committed_units(store, SCORER) == {UNIT}
    assert committed_units(store, "clip@ffffffffffff") == set()


def altered(name: str, values: pa.Array) -> pa.Table:
    return GOOD.set_column(GOOD.schema.get_field_index(name), GOOD.schema.field(name), values)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (altered("score", pa.array([float("nan"), None, 1.0], pa.float32())), "NaN or infinite"),
        (altered("score", pa.array([float("inf"), None, 1.0], pa.float32())), "NaN or infinite"),
        (altered("score", pa.array([None, None, 1.0], pa.float32())), "without status ok"),
        (altered("score", pa.array([0.25, 0.5, 1.0], pa.float32())), "without status ok"),
        (altered("image_uid", pa.array(["a", "a", "c"])), "occurs twice"),
        (altered("image_uid", pa.array(["a", None, "c"])), "null"),
        (altered("status", pa.array(["ok", "tired", "ok"])), "unknown status tired"),
        (GOOD.select(["image_uid", "score"]), "columns"),
        (GOOD.set_column(2, "score", pa.array([0.25, None, 1.0], pa.float64())), "columns"),
    ],
)
def test_scores_that_would_mislead_are_refused_and_leave_nothing(store: Store, table: pa.Table, reason: str) -> None:
    with pytest.raises(StoreError, match=reason):
        commit(store, table)
    assert list_commits(store) == []
    assert store.list("data") == [] and list(store.tmp().iterdir()) == []


@pytest.mark.parametrize(
    "items",
    [
        score_table(["a", "b"], ["p", "p"], [0, 0]),
        score_table(["a", "b", "c"], ["p", "p", "p"], [0, 0, 0]),
    ],
)
def test_scores_of_other_items_are_refused(store: Store, items: pa.Table) -> None:
    with pytest.raises(StoreError, match="items"):
        commit(store, GOOD, items=items)
    assert not is_committed(store, scorer_id=SCORER, unit=UNIT)


@pytest.mark.parametrize(("scorer_id", "unit"), [("clip", UNIT), ("../x@00000000", UNIT), (SCORER, "../../etc")])
def test_ids_that_are_not_ours_are_refused(store: Store, scorer_id: str, unit: str) -> None:
    with pytest.raises(UsageError):
        commit_scores(store, scorer_id=scorer_id, unit=unit, table=GOOD, attempt="try")


def test_a_marker_that_does_not_read_is_a_store_error(store: Store) -> None:
    store.put_if_absent(f"commits/{SCORER}/{UNIT}.json", b'{"unit": "x"}')
    with pytest.raises(StoreError, match="does not read"):
        list_commits(store)


def test_an_empty_table_of_the_right_columns_is_a_commit(store: Store) -> None:
    assert commit(store, SCORES.empty_table())
    assert get_commit(store, scorer_id=SCORER, unit=UNIT).rows == 0


def items_of(*keys: tuple[str, str]) -> pa.Table:
    uids, prompts = zip(*keys, strict=True)
    return pa.table({"image_uid": list(uids), "prompt_id": list(prompts)})


def test_rows_are_committed_in_the_order_of_the_slices_items(store: Store) -> None:
    """Later readers join scores to items by position."""
    assert commit(store, GOOD, items=items_of(("c", "q"), ("a", "p"), ("b", "p")))
    kept = pq.read_table(store.local(get_commit(store, scorer_id=SCORER, unit=UNIT).file), partitioning=None)
    assert kept.schema.equals(SCORES)
    assert kept.to_pydict() == {
        "image_uid": ["c", "a", "b"],
        "prompt_id": ["q", "p", "p"],
        "score": [-1.5, 0.25, None],
        "status": ["ok", "ok", "missing"],
    }


FACTS_ID = "image-facts@0123456789ab"
SHOWN = items_of(("b", "p"), ("a", "p"), ("b", "q"), ("c", "q"))
FACTS_GOOD = pa.table(
    [
        ["b", "a", "c"],
        [9, 12, None],
        ["0" * 64, "1" * 64, None],
        [5, None, None],
        [3, None, None],
        [2**64 - 1, None, None],
        ["ok", "corrupt", "missing"],
    ],
    schema=FACTS,
)


def put_facts(store: Store, table: pa.Table = FACTS_GOOD, *, attempt: str = "try") -> bool:
    return commit_facts(store, facts_id=FACTS_ID, unit=UNIT, table=table, attempt=attempt, items=SHOWN)


def test_facts_are_committed_once_by_the_protocol_of_scores(store: Store) -> None:
    assert put_facts(store) and not put_facts(store, attempt="late")
    marker = get_commit(store, scorer_id=FACTS_ID, unit=UNIT)
    assert (marker.rows, marker.n_bad, marker.attempt) == (3, 2, "try")
    assert pq.read_table(store.local(marker.file), partitioning=None).equals(FACTS_GOOD)


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("image_uid", ["a", "b", "c"], "order of first appearance"),
        ("image_uid", ["b", "a", "d"], "order of first appearance"),
        ("status", ["ok", "splendid", "missing"], "unknown status"),
        ("status", ["ok", None, "missing"], "a status is null"),
        ("width", [5, 1, None], "width is present without status ok"),
        ("phash", [None, None, None], "phash is present without status ok, or the other way round"),
        ("sha256", [None, "1" * 64, None], "lacks its size or sha256"),
    ],
)
def test_facts_that_contradict_themselves_are_refused(store: Store, column: str, values: list, reason: str) -> None:
    at = FACTS.get_field_index(column)
    with pytest.raises(StoreError, match=reason):
        put_facts(store, FACTS_GOOD.set_column(at, FACTS.field(at), pa.array(values, FACTS.field(at).type)))
    assert list_commits(store) == []


def test_facts_of_fewer_images_than_the_slice_shows_are_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="order of first appearance"):
        put_facts(store, FACTS_GOOD.slice(0, 2))


def test_scores_cannot_be_committed_as_facts_nor_facts_as_scores(store: Store) -> None:
    with pytest.raises(UsageError, match="no scorer"):
        commit_scores(store, scorer_id=FACTS_ID, unit=UNIT, table=GOOD, attempt="try")
    with pytest.raises(UsageError, match="not an id of image facts"):
        commit_facts(store, facts_id=SCORER, unit=UNIT, table=FACTS_GOOD, attempt="try", items=SHOWN)
