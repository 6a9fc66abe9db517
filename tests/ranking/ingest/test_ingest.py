"""Ingest: what a source becomes, that nothing is counted twice, and that a bad source leaves nothing."""

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pickapic_factory import Row, rows, table, with_raw, write

from ranking.datasets import find_dataset, get_dataset, list_datasets
from ranking.errors import SourceError, UnknownNameError, UsageError
from ranking.ingest import ingest
from ranking.ingest import register as registering
from ranking.schema import ITEMS, PAIRS
from ranking.store.blobs import Store


def pairs_of(store: Store, name: str) -> list[dict[str, Any]]:
    paths = get_dataset(store, name).pairs_paths(store)
    tables = [pq.read_table(path, partitioning=None) for path in paths]
    assert all(found.schema.equals(PAIRS) for found in tables)
    return pa.concat_tables(tables).to_pylist()


def items_of(store: Store, name: str) -> list[dict[str, Any]]:
    paths = get_dataset(store, name).items_paths(store)
    tables = [pq.read_table(path, partitioning=None) for path in paths]
    assert all(found.schema.equals(ITEMS) for found in tables)
    return pa.concat_tables(tables).to_pylist()


def untouched(store: Store) -> bool:
    return list_datasets(store) == [] and store.list("datasets") == [] and list(store.tmp().iterdir()) == []


def test_a_row_becomes_a_pair_with_its_label_and_origin(store: Store, tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", [Row("a cat", "x", "y", winner=1, user=3, ranking=5)])
    ingest(store, source, "pets")
    (pair,) = pairs_of(store, "pets")
    assert pair["prompt_id"] == sha256(b"a cat").hexdigest()[:16]
    assert (pair["prompt"], pair["image_0_uid"], pair["image_1_uid"]) == ("a cat", "x", "y")
    assert (pair["label_0"], pair["label_1"], pair["winner"], pair["is_tie"]) == (0.0, 1.0, 1, False)
    assert (pair["rater"], pair["model_0"], pair["model_1"]) == ("3", "drawer-a", "drawer-b")
    assert pair["created_at"].isoformat() == "2024-01-01T00:00:05"
    assert (pair["source"], pair["row"]) == (0, 0)


def test_a_pair_id_is_the_hash_that_the_documentation_gives(store: Store, tmp_path: Path) -> None:
    ingest(store, write(tmp_path / "a.parquet", [Row("a cat", "x", "yy", winner=1, user=3, ranking=5)]), "pets")
    # Length:text for prompt, images, rater, microseconds and ranking; the winner in between. 2024-01-01T00:00:05Z.
    spelled = "5:a cat" + "1:x" + "2:yy" + "1" + "1:3" + "16:1704067205000000" + "1:5"
    assert pairs_of(store, "pets")[0]["pair_id"] == sha256(spelled.encode()).hexdigest()[:16]


def test_a_tie_has_no_winner(store: Store, tmp_path: Path) -> None:
    ingest(store, write(tmp_path / "a.parquet", [Row("a cat", "x", "y", winner=None)]), "pets")
    (pair,) = pairs_of(store, "pets")
    assert (pair["label_0"], pair["winner"], pair["is_tie"]) == (0.5, None, True)


def test_an_image_in_many_pairs_of_a_prompt_is_one_item_where_it_first_appears(store: Store, tmp_path: Path) -> None:
    judged = [Row("cat", "a", "b"), Row("cat", "a", "c", ranking=1), Row("dog", "b", "a", ranking=2)]
    ingest(store, write(tmp_path / "a.parquet", judged, row_group_size=2), "pets")
    found = [(i["prompt"], i["image_uid"], i["row"], i["row_group"], i["column"]) for i in items_of(store, "pets")]
    assert found == [
        ("cat", "a", 0, 0, "jpg_0"),
        ("cat", "b", 0, 0, "jpg_1"),
        ("cat", "c", 1, 0, "jpg_1"),
        ("dog", "b", 2, 1, "jpg_0"),
        ("dog", "a", 2, 1, "jpg_1"),
    ]


def test_a_folder_is_read_recursively_in_the_order_of_its_paths(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "src" / "b.parquet", rows(2, first=10))
    write(tmp_path / "src" / "a" / "z.parquet", rows(2))
    (tmp_path / "src" / "notes.txt").write_text("not a source")
    report = ingest(store, tmp_path / "src", "pets")
    assert (report.sources_added, report.rows_read, report.pairs_added) == (2, 4, 4)
    uris = [source.uri for source in get_dataset(store, "pets").sources]
    assert uris == [str(tmp_path / "src" / "a" / "z.parquet"), str(tmp_path / "src" / "b.parquet")]


def test_ingesting_the_same_files_again_adds_nothing(store: Store, tmp_path: Path) -> None:
    source = write(tmp_path / "src" / "a.parquet", rows(5))
    first = ingest(store, source, "pets")
    (tmp_path / "copy.parquet").write_bytes(source.read_bytes())
    for again in (source, source.parent, tmp_path / "copy.parquet"):
        report = ingest(store, again, "pets")
        assert (report.created, report.sources_added, report.sources_known, report.pairs_added) == (False, 0, 1, 0)
        assert (report.revision, report.revision_sha) == (first.revision, first.revision_sha)
    assert len(store.list("datasets/pets/revisions")) == 1


def test_a_file_that_lies_there_twice_counts_once(store: Store, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "src" / f"{name}.parquet", rows(3))
    report = ingest(store, tmp_path / "src", "pets")
    assert (report.sources_added, report.sources_known, report.pairs_added) == (1, 1, 3)


def test_new_files_make_a_new_revision_without_what_was_there(store: Store, tmp_path: Path) -> None:
    ingest(store, write(tmp_path / "a.parquet", rows(5)), "pets", slice_items=3)
    before = get_dataset(store, "pets")
    report = ingest(store, write(tmp_path / "b.parquet", rows(8)), "pets", slice_items=3)
    after = get_dataset(store, "pets")
    assert (report.revision, report.pairs_added, report.skipped) == (2, 3, {"duplicate": 5})
    assert after.slices[: len(before.slices)] == before.slices
    assert (after.n_pairs, after.n_items) == (8, 11)
    pairs, items = pairs_of(store, "pets"), items_of(store, "pets")
    assert len({pair["pair_id"] for pair in pairs}) == len(pairs) == 8
    assert len({(i["image_uid"], i["prompt_id"]) for i in items}) == len(items) == 11
    assert {pair["source"] for pair in pairs[5:]} == {1}
    assert get_dataset(store, "pets", revision=1) == before


def test_exact_copies_are_dropped_and_counted_but_a_second_opinion_stays(store: Store, tmp_path: Path) -> None:
    row = Row("cat", "a", "b", winner=0, user=1)
    second_opinion = Row("cat", "a", "b", winner=0, user=2)
    report = ingest(store, write(tmp_path / "a.parquet", [row, row, second_opinion, row]), "pets")
    assert (report.pairs_added, report.skipped) == (2, {"duplicate": 2})
    assert [pair["row"] for pair in pairs_of(store, "pets")] == [0, 2]


def test_a_source_of_nothing_but_known_rows_is_recorded_with_no_pairs(store: Store, tmp_path: Path) -> None:
    ingest(store, write(tmp_path / "a.parquet", rows(4)), "pets")
    report = ingest(store, write(tmp_path / "b.parquet", rows(2)), "pets")
    assert (report.created, report.pairs_added, report.slices_added) == (True, 0, 0)
    assert ingest(store, tmp_path / "b.parquet", "pets").created is False
    assert get_dataset(store, "pets").n_pairs == 4


BAD = {
    "blank_prompt": [Row("", "a", "b"), Row(" \t\n", "a", "b"), Row(None, "a", "b")],
    "long_prompt": [Row("x" * 8193, "a", "b")],
    "bad_label": [
        with_raw(Row("cat", "a", "b"), label_0=None),
        with_raw(Row("cat", "a", "b"), label_0=float("nan")),
        with_raw(Row("cat", "a", "b"), label_0=1.0, label_1=1.0),
        with_raw(Row("cat", "a", "b"), label_0=0.7, label_1=0.3),
    ],
    "no_label": [with_raw(Row("cat", "a", "b"), has_label=False)],
    "missing_image": [Row("cat", "", "b"), Row("cat", "a", None)],
    "same_image": [Row("cat", "a", "a")],
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_refuses_the_source_and_names_the_first_place(store: Store, tmp_path: Path, reason: str) -> None:
    source = write(tmp_path / "a.parquet", [*rows(3), *BAD[reason]])
    with pytest.raises(SourceError) as caught:
        ingest(store, source, "pets")
    n = len(BAD[reason])
    assert f"{n} rows cannot be used ({n} {reason}), the first is {source} row 3 ({reason})" in str(caught.value)
    assert untouched(store)


def test_bad_rows_are_left_out_and_counted_when_asked(store: Store, tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", [*rows(3), *(row for group in BAD.values() for row in group)])
    report = ingest(store, source, "pets", skip_bad_rows=True)
    assert report.skipped == {reason: len(group) for reason, group in sorted(BAD.items())}
    assert report.pairs_added == 3
    assert get_dataset(store, "pets").skipped == report.skipped


def test_a_source_without_one_good_row_is_refused_even_then(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no row .* can be used \(1 same_image\)"):
        ingest(store, write(tmp_path / "a.parquet", [Row("cat", "a", "a")]), "pets", skip_bad_rows=True)
    assert list_datasets(store) == []


def test_rows_keep_their_places_and_progress_rises(store: Store, tmp_path: Path) -> None:
    judged = rows(11)
    judged[6] = Row("", "a", "b")
    seen: list[tuple[int, int]] = []
    write(tmp_path / "src" / "a.parquet", judged, row_group_size=3)
    write(tmp_path / "src" / "b.parquet", rows(5, first=40))
    ingest(store, tmp_path / "src", "pets", skip_bad_rows=True, progress=lambda *at: seen.append(at))
    assert [pair["row"] for pair in pairs_of(store, "pets")] == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 0, 1, 2, 3, 4]
    assert seen == sorted(seen)
    total = 2 * sum(path.stat().st_size for path in (tmp_path / "src").iterdir())  # hashed, then read
    assert seen[-1] == (total, total)
    assert all(item["row_group"] == item["row"] // 3 for item in items_of(store, "pets") if item["source"] == 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "nowhere", "does not exist"),
        (lambda path: path, "has no file that ends in"),
        (lambda path: text(path / "a.parquet"), "cannot be read as Parquet"),
        (lambda path: cut(write(path / "a.parquet", rows(3))), "cannot be read as Parquet"),
        (lambda path: write(path / "a.parquet", []), "has no rows"),
        (lambda path: write(path / "a.parquet", rows(1), without=["caption", "label_1"]), "columns caption, label_1"),
        (lambda path: typed(path / "a.parquet", "label_0", pa.array(["yes"])), "column label_0"),
        (lambda path: typed(path / "a.parquet", "created_at", pa.array(["soon"])), "column created_at"),
        (lambda path: typed(path / "a.parquet", "caption", pa.array([[1]])), "column caption"),
        (lambda path: typed(path / "a.parquet", "caption", pa.array([b"\xff\xfe"])), "column caption"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_line_and_leaves_nothing(
    store: Store, tmp_path: Path, make: Any, message: str
) -> None:
    folder = tmp_path / "src"
    folder.mkdir()
    with pytest.raises(SourceError, match=message) as caught:
        ingest(store, make(folder), "pets")
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (1, False)
    assert untouched(store)


def text(path: Path) -> Path:
    path.write_text("caption,label_0")
    return path


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-9])
    return path


def typed(path: Path, column: str, values: pa.Array) -> Path:
    full = table(rows(1))
    pq.write_table(full.set_column(full.schema.get_field_index(column), column, values), path)
    return path


def test_one_bad_file_among_good_ones_stops_all(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "src" / "a.parquet", rows(3))
    text(tmp_path / "src" / "b.parquet")
    with pytest.raises(SourceError, match=r"b\.parquet"):
        ingest(store, tmp_path / "src", "pets")
    assert untouched(store)


def test_names_and_formats_are_checked_first(store: Store, tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", rows(1))
    with pytest.raises(UsageError, match="not allowed"):
        ingest(store, source, "../pets")
    with pytest.raises(UnknownNameError, match="did you mean pickapic"):
        ingest(store, source, "pets", format="pickapics")
    assert ingest(store, source, "pets", format="pickapic").format == "pickapic"


def test_only_the_five_needed_columns_are_needed(store: Store, tmp_path: Path) -> None:
    needed = {"caption", "image_0_uid", "image_1_uid", "label_0", "label_1"}
    others = [name for name in table([]).schema.names if name not in needed]
    ingest(store, write(tmp_path / "a.parquet", rows(2), without=others), "pets")
    pair = pairs_of(store, "pets")[0]
    assert [pair[name] for name in ("rater", "model_0", "model_1", "created_at")] == [None] * 4
    assert {item["column"] for item in items_of(store, "pets")} == {None}


def test_dictionary_columns_and_other_time_units_read_the_same(store: Store, tmp_path: Path) -> None:
    full = table(rows(6))
    plain = write(tmp_path / "plain.parquet", rows(6))
    for name, kind in (
        ("caption", pa.dictionary(pa.int32(), pa.string())),
        ("image_0_uid", pa.large_string()),
        ("created_at", pa.timestamp("ms", tz="Europe/Berlin")),
        ("label_0", pa.float32()),
    ):
        full = full.set_column(full.schema.get_field_index(name), name, full[name].cast(kind))
    pq.write_table(full, tmp_path / "other.parquet")
    ingest(store, plain, "plain")
    ingest(store, tmp_path / "other.parquet", "other")
    assert pairs_of(store, "plain") == pairs_of(store, "other")


def test_slices_belong_to_one_source_and_have_lasting_units(store: Store, tmp_path: Path) -> None:
    for part in range(2):
        write(tmp_path / "src" / f"{part}.parquet", rows(6, first=20 * part))
    ingest(store, tmp_path / "src", "pets", slice_items=4)
    # Six chained pairs over three prompts show nine images: 4 + 4 + 1 for each source.
    slices = get_dataset(store, "pets").slices
    assert [(piece.source, piece.start, piece.rows) for piece in slices] == [
        (0, 0, 4),
        (0, 4, 4),
        (0, 8, 1),
        (1, 9, 4),
        (1, 13, 4),
        (1, 17, 1),
    ]
    other = Store.open(tmp_path / "other")
    ingest(other, tmp_path / "src", "pets", slice_items=4)
    assert [piece.unit for piece in get_dataset(other, "pets").slices] == [piece.unit for piece in slices]
    ingest(other, tmp_path / "src", "cats", slice_items=4)
    assert not {piece.unit for piece in get_dataset(other, "cats").slices} & {piece.unit for piece in slices}


def test_two_ingests_at_once_both_count(store: Store, tmp_path: Path) -> None:
    sources = [write(tmp_path / f"{i}.parquet", rows(4, first=100 * i)) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda source: ingest(store, source, "pets"), sources))
    assert sorted(report.revision for report in reports) == [1, 2, 3, 4]
    assert get_dataset(store, "pets").n_pairs == len({pair["pair_id"] for pair in pairs_of(store, "pets")}) == 16


def test_the_loser_of_a_race_for_the_same_file_adds_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "a.parquet", rows(4))
    real = registering.put_revision

    def beaten_to_it(*args: Any) -> bool:
        monkeypatch.setattr(registering, "put_revision", real)
        assert ingest(store, source, "pets").created
        return real(*args)

    monkeypatch.setattr(registering, "put_revision", beaten_to_it)
    report = ingest(store, source, "pets")
    assert (report.created, report.revision, report.pairs_added) == (False, 1, 0)


chains = st.lists(
    st.tuples(st.sampled_from("pqr"), st.sampled_from("abcdef"), st.sampled_from("abcdef"), st.integers(0, 2)),
    min_size=1,
    max_size=30,
).filter(lambda drawn: any(a != b for _, a, b, _ in drawn))


@settings(max_examples=12)
@given(drawn=chains, cut_at=st.integers(0, 30), slice_items=st.integers(1, 7))
def test_pairs_and_items_are_those_of_a_plain_loop(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, str, str, int]], cut_at: int, slice_items: int
) -> None:
    judged = [Row(prompt, a, b, winner=(0, 1, None)[w]) for prompt, a, b, w in drawn if a != b]
    parts = [part for part in (judged[:cut_at], judged[cut_at:]) if part]
    folder = tmp_path_factory.mktemp("ingest")
    store = Store.open(folder / "store")
    for i, part in enumerate(parts):
        ingest(store, write(folder / f"{i}.parquet", part), "pets", slice_items=slice_items)

    pairs, items = dict.fromkeys(judged), {}
    for row in judged:
        items.setdefault((row.image_0, row.prompt))
        items.setdefault((row.image_1, row.prompt))
    expected = [(row.prompt, row.image_0, row.image_1, row.winner) for row in pairs]
    assert [(p["prompt"], p["image_0_uid"], p["image_1_uid"], p["winner"]) for p in pairs_of(store, "pets")] == expected
    assert [(i["image_uid"], i["prompt"]) for i in items_of(store, "pets")] == list(items)
    found = find_dataset(store, "pets")
    assert found is not None
    assert max(piece.rows for piece in found.slices) <= slice_items
    assert sum(piece.rows for piece in found.slices) == len(items)
    assert len({piece.unit for piece in found.slices}) == len(found.slices)
