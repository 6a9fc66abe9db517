"""ImageRewardDB: the lower rank wins in every form, each image keeps its three ratings and its one uid."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from adapter_files import CELL, cell, labels, picture, read, reasons, source, uid_of, uids, write_json, write_parquet
from adapter_results import items_of, pairs_of, ratings_of

from ranking.errors import SourceError
from ranking.ingest import ingest
from ranking.ingest.adapters import Options, imagerewarddb
from ranking.store.blobs import Store


def uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def image(number: int, *, prompt: str = "p1", rank: Any = 1, overall: Any = 4, **changes: Any) -> dict[str, Any]:
    known = {
        "image_path": f"images/train/train_1/{uuid(number)}.webp",
        "prompt_id": prompt,
        "prompt": f"text of {prompt}",
        "classification": "People",
        "image_amount_in_total": 3,
        "rank": rank,
        "overall_rating": overall,
        "image_text_alignment_rating": 5,
        "fidelity_rating": 6,
    }
    return {**known, **changes}


THREE = [image(1, rank=2), image(2, rank=1, overall=7), image(3, rank=2, overall=1)]
"""Image 2 beats the others, which tie."""


def flat(rows: list[dict[str, Any]], cells: list[Any] | None = None) -> pa.Table:
    """As metadata with paths, or with images in the cells."""
    table = pa.Table.from_pylist(rows)
    if cells is None:
        return table
    return table.drop_columns(["image_path"]).append_column("image", pa.array(cells, CELL))


def named(number: int) -> dict[str, Any]:
    return {"bytes": picture(number), "path": f"{uuid(number)}.webp"}


def expect_three(found: list[dict[str, Any]], ratings: list[dict[str, Any]]) -> None:
    assert uids(found) == [(uuid(1), uuid(2)), (uuid(1), uuid(3)), (uuid(2), uuid(3))]
    assert labels(found) == [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    assert {(row["prompt"], row["reason"], row["votes_0"], row["rater"]) for row in found} == {
        ("text of p1", None, None, None)
    }
    assert [(row["image_uid"], row["name"], row["value"]) for row in ratings] == [
        (uuid(number), f"imagereward-{name}", value)
        for number, overall in ((1, 4.0), (2, 7.0), (3, 1.0))
        for name, value in (("overall", overall), ("alignment", 5.0), ("fidelity", 6.0))
    ]
    assert {(row["prompt"], row["reason"]) for row in ratings} == {("text of p1", None)}


def test_a_part_s_json_with_its_images_beside_it(tmp_path: Path) -> None:
    path = write_json(tmp_path / "db" / "train_1" / "train_1.json", THREE)
    found, ratings = read("imagerewarddb", path, root=tmp_path)
    expect_three(found, ratings)
    assert [row["row"] for row in found] == [0, 0, 1]
    assert (found[0]["file_0"], found[0]["file_1"]) == tuple(f"db/train_1/{uuid(n)}.webp" for n in (1, 2))
    ((first, *_), _) = read("imagerewarddb", path, images="/elsewhere")
    assert first["file_0"] == f"images/train/train_1/{uuid(1)}.webp"


def test_the_metadata_file_with_its_paths(tmp_path: Path) -> None:
    found, ratings = read("imagerewarddb", write_parquet(tmp_path / "metadata-train.parquet", flat(THREE)))
    expect_three(found, ratings)
    assert (found[2]["file_0"], found[2]["file_1"]) == (THREE[1]["image_path"], THREE[2]["image_path"])


def test_the_flat_form_points_at_the_rows_of_both_images(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", flat(THREE, [named(1), named(2), named(3)]))
    found, ratings = read("imagerewarddb", path)
    expect_three(found, ratings)
    assert [(row["row_group_0"], row["row_0"], row["row_group_1"], row["row_1"]) for row in found] == [
        (0, 0, 0, 1),
        (0, 0, 1, 2),
        (0, 1, 1, 2),
    ]
    assert [(cell(path, row, 0), cell(path, row, 1)) for row in found] == [
        (picture(1), picture(2)),
        (picture(1), picture(3)),
        (picture(2), picture(3)),
    ]


def test_cells_that_lost_their_names_are_called_by_their_bytes(tmp_path: Path) -> None:
    for path_of_second in (None, "2.webp"):
        cells = [named(1), {"bytes": picture(2), "path": path_of_second}, named(3)]
        path = write_parquet(tmp_path / "a.parquet", flat(THREE, cells))
        found, _ = read("imagerewarddb", path)
        assert uids(found)[0] == (uid_of(picture(1)), uid_of(picture(2)))
        assert (cell(path, found[2], 0), cell(path, found[2], 1)) == (picture(2), picture(3))


def grouped(rows: list[dict[str, Any]], **changes: Any) -> pa.Table:
    images = pa.array([[named(n + 1) for n in range(len(rows))]], pa.list_(CELL))
    lists = {
        name: pa.array([[row[name] for row in rows]], pa.list_(pa.int8()))
        for name in ("rank", "overall_rating", "image_text_alignment_rating", "fidelity_rating")
    }
    return pa.table({"prompt_id": ["p1"], "prompt": ["text of p1"], "image": images, **lists, **changes})


def test_a_group_in_one_row_gives_the_same_but_its_images_only_as_files(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", grouped(THREE))
    found, ratings = read("imagerewarddb", path)
    expect_three(found, ratings)
    assert {(row["row"], row["column_0"], row["file_0"]) for row in found} == {(0, None, None)}
    found, _ = read("imagerewarddb", path, images="/elsewhere")
    assert found[0]["file_1"] == f"{uuid(2)}.webp"


def test_a_group_whose_lists_do_not_fit_or_are_empty_says_so(tmp_path: Path) -> None:
    short = grouped(THREE, rank=pa.array([[1, 2]], pa.list_(pa.int8())))
    empty = grouped([]).cast(short.schema)
    path = write_parquet(tmp_path / "a.parquet", pa.concat_tables([short, empty, grouped(THREE)]))
    found, _ = read("imagerewarddb", path)
    assert [(row["row"], row["reason"]) for row in found] == [
        *[(0, "bad_label")] * 3,
        (1, "missing_image"),
        *[(2, None)] * 3,
    ]


@pytest.mark.parametrize("names", [True, False])
def test_the_better_image_of_a_pair_is_image_0_and_wins(tmp_path: Path, names: bool) -> None:
    def cells(first: int) -> pa.Array:
        rows = [named(first), named(first + 1)]
        return pa.array([row if names else {**row, "path": None} for row in rows], CELL)

    columns = {"prompt_id": ["p1", "p1"], "prompt": ["text of p1"] * 2, "classification": ["People"] * 2}
    path = write_parquet(tmp_path / "a.parquet", pa.table({**columns, "img_better": cells(10), "img_worse": cells(20)}))
    found, ratings = read("imagerewarddb", path)
    assert (labels(found), reasons(found), ratings) == ([(1.0, 0.0)] * 2, [None] * 2, [])
    assert [(cell(path, row, 0), cell(path, row, 1)) for row in found] == [
        (picture(10), picture(20)),
        (picture(11), picture(21)),
    ]
    assert uids(found)[0] == ((uuid(10), uuid(20)) if names else (uid_of(picture(10)), uid_of(picture(20))))


def test_groups_end_where_the_prompt_changes_wherever_batches_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [image(16 * p + n, prompt=f"p{p}", rank=n) for p in range(1, 6) for n in range(4)]
    path = write_json(tmp_path / "train_1.json", rows)
    whole, _ = read("imagerewarddb", path)
    assert len(whole) == 5 * 6
    assert {row["image_0_uid"][:7] == row["image_1_uid"][:7] for row in whole} == {True}
    for size in (1, 3, 7):
        monkeypatch.setattr("ranking.ingest.adapters.documents.BATCH_ROWS", size)
        assert read("imagerewarddb", path)[0] == whole


def test_rows_of_a_prompt_that_lie_apart_are_one_clear_error(tmp_path: Path) -> None:
    rows = [image(1), image(2), image(3, prompt="p2"), image(4, prompt="p2"), image(5)]
    file = source(write_json(tmp_path / "train_1.json", rows))
    with pytest.raises(SourceError, match="prompt p1 in several places"):
        list(imagerewarddb.ADAPTER.read(file, Options()))


def test_images_that_cannot_be_paired_say_why_and_leave_the_others_alone(tmp_path: Path) -> None:
    rows = [
        image(1, rank=1),
        image(2, rank=2),
        image(3, prompt="alone"),
        image(4, prompt="no rank", rank=None),
        image(5, prompt="no rank"),
        image(6, prompt="bad path", image_path="../x.webp"),
        image(7, prompt="bad path"),
        image(8, prompt="no path", image_path=None),
        image(9, prompt="no path"),
        *(image(100 + n, prompt="crowd") for n in range(70)),
        image(200, prompt=None),
    ]
    found, _ = read("imagerewarddb", write_json(tmp_path / "train_1.json", rows))
    assert [(row["row"], row["reason"]) for row in found] == [
        (0, None),
        (2, "missing_image"),
        (3, "bad_label"),
        (5, "bad_path"),
        (7, "missing_image"),
        (9, "too_many_images"),
        (79, "missing_image"),
    ]


def test_a_crowd_in_many_batches_is_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranking.ingest.adapters.documents.BATCH_ROWS", 50)
    rows = [image(n, prompt="crowd") for n in range(500)] + [image(1000, prompt="p2"), image(1001, prompt="p2", rank=2)]
    found, ratings = read("imagerewarddb", write_json(tmp_path / "train_1.json", rows))
    assert [(row["row"], row["reason"]) for row in found] == [(0, "too_many_images"), (500, None)]
    assert len(ratings) == 3 * 502


def test_ratings_that_are_missing_are_left_out_and_those_that_are_no_numbers_too(tmp_path: Path) -> None:
    rows = [image(1, overall=None), image(2, overall="good", rank=2)]
    _, ratings = read("imagerewarddb", write_json(tmp_path / "train_1.json", rows))
    assert {row["name"] for row in ratings} == {"imagereward-alignment", "imagereward-fidelity"}


def test_ingest_recognises_every_form_and_agrees_on_the_winner(store: Store, tmp_path: Path) -> None:
    forms = {
        "json": write_json(tmp_path / "train_1.json", THREE),
        "metadata": write_parquet(tmp_path / "metadata.parquet", flat(THREE)),
        "flat": write_parquet(tmp_path / "flat.parquet", flat(THREE, [named(1), named(2), named(3)])),
        "group": write_parquet(tmp_path / "group.parquet", grouped(THREE)),
    }
    for name, path in forms.items():
        report = ingest(store, path, name)
        assert (report.format, report.pairs_added, report.items_added) == ("imagerewarddb", 3, 3)
        assert [pair["winner"] for pair in pairs_of(store, name)] == [1, None, 0]
        assert {(row["image_uid"], row["value"]) for row in ratings_of(store, name) if "overall" in row["name"]} == {
            (uuid(1), 4.0),
            (uuid(2), 7.0),
            (uuid(3), 1.0),
        }
    assert [(item["row"], item["row_group"], item["column"]) for item in items_of(store, "flat")] == [
        (0, 0, "image.bytes"),
        (1, 0, "image.bytes"),
        (2, 1, "image.bytes"),
    ]
    assert [item["file"] for item in items_of(store, "json")] == [f"{uuid(n)}.webp" for n in (1, 2, 3)]
