"""Marks are said once, by somebody, and withdrawn by one more record."""

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranking.audit import audit
from ranking.datasets import Dataset
from ranking.errors import NotFoundError, SourceError, UnknownNameError, UsageError
from ranking.flags.book import history, read_book, standing
from ranking.flags.files import read_marks, write_marks
from ranking.flags.listing import list_marks
from ranking.flags.marking import add_mark, add_marks, withdraw
from ranking.flags.records import mark_id
from ranking.flags.withdrawing import find_flag
from ranking.store.blobs import Store


def pair_ids(store: Store, dataset: Dataset) -> list[str]:
    tables = [pq.read_table(path, columns=["pair_id"]) for path in dataset.pairs_paths(store)]
    ids: list[str] = pa.concat_tables(tables)["pair_id"].to_pylist()
    return ids


def stands(store: Store) -> list[tuple[str, str, str]]:
    table = standing(store, read_book(store, "pets"))
    return [(row["pair_id"], row["kind"], row["by"]) for row in table.to_pylist()]


def marks_of(pairs: list[str], kind: str = "unsafe") -> pa.Table:
    return pa.table({"pair_id": pairs, "kind": [kind] * len(pairs)})


def test_a_mark_says_who_what_why_when_and_by_which_door(store: Store, dataset: Dataset) -> None:
    pair = pair_ids(store, dataset)[0]
    mark, new = add_mark(store, pair, kind="wrong-label", by="ann", why="the dog is a cat", door="cli")
    assert new
    assert (mark.dataset, mark.pair_id, mark.kind, mark.by) == ("pets", pair, "wrong_label", "ann")
    (row,) = list_marks(store, pair=pair).to_pylist()
    assert (row["id"], row["why"], row["door"], row["created"]) == (mark.id, "the dog is a cat", "cli", mark.created)


def test_the_id_of_a_mark_is_a_hash_of_its_parts_in_python_and_in_sql(store: Store, dataset: Dataset) -> None:
    pair = pair_ids(store, dataset)[0]
    # Worked by hand: each part as <bytes>:<text>; "jürgen" has seven bytes.
    text = f"4:pets16:{pair}6:unsafe7:jürgen1:0"
    expected = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert mark_id("pets", pair, "unsafe", "jürgen", 0) == expected
    add_marks(store, "pets", marks_of([pair]), by="jürgen")
    assert standing(store, read_book(store, "pets"))["id"].to_pylist() == [expected]


def test_the_same_mark_twice_is_one_and_the_first_note_stays(store: Store, dataset: Dataset) -> None:
    pair = pair_ids(store, dataset)[0]
    first, _ = add_mark(store, pair, kind="unsafe", by="ann", why="blood", door="cli")
    again, new = add_mark(store, pair, kind="unsafe", by="ann", why="more blood", door="api")
    assert (again, new) == (first, False)
    assert len(stands(store)) == 1


def test_two_people_or_two_kinds_are_two_marks(store: Store, dataset: Dataset) -> None:
    pair = pair_ids(store, dataset)[0]
    for kind, by in (("unsafe", "ann"), ("unsafe", "bob"), ("duplicate", "ann")):
        assert add_mark(store, pair, kind=kind, by=by, door="cli")[1]
    assert len(stands(store)) == 3


def test_a_withdrawn_mark_stands_no_more_and_is_remembered(store: Store, dataset: Dataset) -> None:
    pair = pair_ids(store, dataset)[0]
    mark, _ = add_mark(store, pair, kind="unsafe", by="ann", door="cli")
    assert withdraw(store, mark.id, by="bob", why="only ketchup", door="api")[1]
    assert stands(store) == []
    (row,) = history(store, read_book(store, "pets")).to_pylist()
    assert (row["id"], row["withdrawn_by"], row["withdrawn_why"]) == (mark.id, "bob", "only ketchup")


def test_withdrawing_twice_is_once_and_the_first_keeps_its_name(store: Store, dataset: Dataset) -> None:
    mark, _ = add_mark(store, pair_ids(store, dataset)[0], kind="unsafe", by="ann", door="cli")
    first, _ = withdraw(store, mark.id, by="bob", door="cli")
    assert withdraw(store, mark.id, by="eve", door="cli") == (first, False)


def test_a_mark_may_be_made_again_after_it_was_withdrawn(store: Store, dataset: Dataset) -> None:
    pair = pair_ids(store, dataset)[0]
    for _ in range(3):
        mark, new = add_mark(store, pair, kind="unsafe", by="ann", door="cli")
        assert new
        assert stands(store) == [(pair, "unsafe", "ann")]
        withdraw(store, mark.id, by="ann", door="cli")
        assert stands(store) == []


def test_of_many_who_say_the_same_at_once_one_is_new(store: Store, dataset: Dataset) -> None:
    pair = pair_ids(store, dataset)[0]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: add_mark(store, pair, kind="unsafe", by="ann", door="api"), range(16)))
    assert sum(new for _, new in results) == 1
    assert {mark for mark, _ in results} == {results[0][0]}


def test_an_unknown_kind_or_pair_gets_the_near_ones(store: Store, dataset: Dataset) -> None:
    pair = pair_ids(store, dataset)[0]
    with pytest.raises(UnknownNameError, match="wrong_label"):
        add_mark(store, pair, kind="wrong_lable", by="ann", door="cli")
    near = ("0" if pair[0] != "0" else "1") + pair[1:]
    with pytest.raises(UnknownNameError, match=pair):
        add_mark(store, near, kind="unsafe", by="ann", door="cli")
    with pytest.raises(UnknownNameError, match=pair):
        add_mark(store, pair[:8], kind="unsafe", by="ann", door="cli")
    assert not store.list("flags")


@pytest.mark.parametrize(
    ("by", "why"),
    [("", ""), ("  ", ""), ("a" * 101, ""), ("ann", "x" * 1001), ("ann\x07", ""), ("ann", "bell \x07")],
)
def test_a_name_or_note_that_is_no_plain_line_is_refused(store: Store, dataset: Dataset, by: str, why: str) -> None:
    with pytest.raises(UsageError):
        add_mark(store, pair_ids(store, dataset)[0], kind="unsafe", by=by, why=why, door="cli")
    assert not store.list("flags")


def test_many_marks_are_one_record_and_the_same_table_twice_adds_nothing(store: Store, dataset: Dataset) -> None:
    pairs = pair_ids(store, dataset)
    marked = add_marks(store, "pets", marks_of(pairs + pairs[:3]), by="ann")
    assert (marked.new, marked.known) == (len(pairs), 0)
    keys = store.list("flags")
    assert len(keys) == 2, "a record and its file"
    again = add_marks(store, "pets", marks_of(pairs[::-1]), by="ann")
    assert (again.batch, again.new, again.known) == (None, 0, len(pairs))
    assert store.list("flags") == keys


def test_a_table_may_say_of_each_row_who_judged_and_why(store: Store, dataset: Dataset) -> None:
    pairs = pair_ids(store, dataset)[:2]
    table = marks_of(pairs).append_column("by", pa.array(["bob", None])).append_column("why", pa.array(["ugly", None]))
    add_marks(store, "pets", table, by="ann")
    rows = {row["pair_id"]: (row["by"], row["why"]) for row in list_marks(store).to_pylist()}
    assert rows == {pairs[0]: ("bob", "ugly"), pairs[1]: ("ann", "")}


def test_one_mark_of_a_batch_or_all_of_it_can_be_withdrawn_and_said_again(store: Store, dataset: Dataset) -> None:
    pairs = sorted(pair_ids(store, dataset)[:3])
    marked = add_marks(store, "pets", marks_of(pairs), by="ann")
    assert marked.batch is not None
    withdraw(store, mark_id("pets", pairs[0], "unsafe", "ann", 0), by="bob", door="cli")
    assert [pair for pair, _, _ in stands(store)] == pairs[1:]
    withdraw(store, marked.batch.id, by="bob", door="cli")
    assert stands(store) == []
    again = add_marks(store, "pets", marks_of(pairs), by="ann")
    assert again.new == 3
    assert [pair for pair, _, _ in stands(store)] == pairs
    assert audit(store).ok


def test_a_mark_that_a_batch_says_is_not_said_again(store: Store, dataset: Dataset) -> None:
    pair = pair_ids(store, dataset)[0]
    add_marks(store, "pets", marks_of([pair]), by="ann", why="")
    mark, new = add_mark(store, pair, kind="unsafe", by="ann", door="cli")
    assert not new
    assert mark.id == mark_id("pets", pair, "unsafe", "ann", 0)
    assert mark.door == "import"


def test_a_batch_with_an_unknown_pair_or_kind_is_refused_whole(store: Store, dataset: Dataset) -> None:
    pairs = pair_ids(store, dataset)
    with pytest.raises(UnknownNameError, match="'0000000000000000'"):
        add_marks(store, "pets", marks_of([*pairs, "0" * 16]), by="ann")
    with pytest.raises(UnknownNameError, match="both_bad"):
        add_marks(store, "pets", marks_of(pairs, kind="bad_both"), by="ann")
    assert not store.list("flags")


def test_an_unknown_flag_cannot_be_withdrawn(store: Store, dataset: Dataset) -> None:
    add_marks(store, "pets", marks_of(pair_ids(store, dataset)), by="ann")
    with pytest.raises(NotFoundError, match="no flag"):
        withdraw(store, "f" * 16, by="ann", door="cli")


def test_what_is_known_of_a_flag_can_be_looked_up_by_its_id(store: Store, dataset: Dataset) -> None:
    pairs = pair_ids(store, dataset)
    single, _ = add_mark(store, pairs[0], kind="duplicate", by="ann", door="cli")
    batch = add_marks(store, "pets", marks_of(pairs), by="bob").batch
    assert batch is not None
    assert find_flag(store, single.id) | {"what": "mark", "by": "ann", "withdrawn": None} == find_flag(store, single.id)
    assert find_flag(store, batch.id)["marks"] == len(pairs)
    inside = mark_id("pets", pairs[0], "unsafe", "bob", 0)
    assert find_flag(store, inside)["source"] == batch.id


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_marks_go_out_as_a_file_and_come_back(
    store: Store, dataset: Dataset, ingested: Path, tmp_path: Path, suffix: str
) -> None:
    pairs = pair_ids(store, dataset)
    add_marks(store, "pets", marks_of(pairs), by="ann")
    add_mark(store, pairs[0], kind="duplicate", by='bob, "the" builder', why="=1+1", door="cli")
    before = stands(store)
    file = tmp_path / f"marks{suffix}"
    write_marks(standing(store, read_book(store, "pets")), file)
    other = Store.open(shutil.copytree(ingested, tmp_path / "other"))
    add_marks(other, "pets", read_marks(file), by="carol")
    assert stands(other) == before
    with pytest.raises(UsageError, match="there already"):
        write_marks(standing(store, read_book(store, "pets")), file)


def test_ids_that_look_like_numbers_stay_texts_and_a_kind_may_be_given(tmp_path: Path) -> None:
    file = tmp_path / "marks.csv"
    file.write_text("pair\n0000000000000012\n12e4567890123456\n")
    assert read_marks(file, kind="unsafe")["pair_id"].to_pylist() == ["0000000000000012", "12e4567890123456"]
    with pytest.raises(UsageError, match="--kind"):
        read_marks(file)
    with pytest.raises(SourceError, match="pair_id"):
        file.write_text("row\n1\n")
        read_marks(file)
    with pytest.raises(UsageError, match="ends in"):
        read_marks(tmp_path / "marks.xlsx")
