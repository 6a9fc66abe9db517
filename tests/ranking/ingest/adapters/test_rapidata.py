"""Rapidata: the image with more votes, or more weight, wins; coherence and alignment become ratings of the images."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from adapter_files import CELL, cell, labels, picture, read, reasons, uid_of, uids, votes, write_parquet
from adapter_results import items_of, pairs_of, ratings_of

from ranking.ingest import ingest
from ranking.store.blobs import Store


def images(count: int, offset: int) -> pa.Array:
    return pa.array([{"bytes": picture(2 * n + offset), "path": f"{n}.jpg"} for n in range(count)], CELL)


def old(pairs: list[tuple[int | None, int | None]], **more: Any) -> pa.Table:
    count = len(pairs)
    columns = {
        "prompt": ["a cat"] * count,
        "image1": images(count, 0),
        "image2": images(count, 1),
        "votes_image1": pa.array([pair[0] for pair in pairs], pa.int64()),
        "votes_image2": pa.array([pair[1] for pair in pairs], pa.int64()),
        "model1": ["flux"] * count,
        "model2": ["dalle3"] * count,
        "detailed_results": ["[]"] * count,
        "image1_path": ["a.jpg"] * count,
        "image2_path": ["b.jpg"] * count,
    }
    return pa.table({**columns, **more})


def new(weights: list[dict[str, tuple[float | None, float | None]]]) -> pa.Table:
    count = len(weights)
    columns: dict[str, Any] = {
        "prompt": [f"prompt {n}" for n in range(count)],
        "image1": images(count, 0),
        "image2": images(count, 1),
        "model1": ["flux"] * count,
        "model2": ["dalle3"] * count,
    }
    for name in weights[0]:
        for side in range(2):
            column = f"weighted_results_image{side + 1}_{name}"
            columns[column] = pa.array([row[name][side] for row in weights], pa.float32())
        columns[f"detailed_results_{name}"] = ["[]"] * count
    return pa.table(columns)


def test_the_image_with_more_votes_wins(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", old([(20, 6), (3, 23), (13, 13)]))
    found, ratings = read("rapidata", path)
    assert labels(found) == [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]
    assert votes(found) == [(20.0, 6.0), (3.0, 23.0), (13.0, 13.0)]
    assert (reasons(found), ratings) == ([None] * 3, [])
    assert uids(found) == [(uid_of(picture(2 * n)), uid_of(picture(2 * n + 1))) for n in range(3)]
    assert [(cell(path, row, 0), cell(path, row, 1)) for row in found] == [
        (picture(2 * n), picture(2 * n + 1)) for n in range(3)
    ]
    assert (found[0]["model_0"], found[0]["model_1"]) == ("flux", "dalle3")


def test_the_image_with_more_weight_wins_by_preference_alone(tmp_path: Path) -> None:
    rows = [
        {"preference": (0.75, 0.25), "coherence": (0.0, 1.0), "alignment": (0.25, 0.75)},
        {"preference": (1.0, 9.0), "coherence": (6.0, 2.0), "alignment": (2.0, 2.0)},
        {"preference": (0.5, 0.5), "coherence": (1.0, 0.0), "alignment": (1.0, 0.0)},
    ]
    found, _ = read("rapidata", write_parquet(tmp_path / "a.parquet", new(rows)))
    assert labels(found) == [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]
    assert votes(found) == [(0.75, 0.25), (1.0, 9.0), (0.5, 0.5)]


def test_ratings_are_shares_of_the_pair_s_results_for_each_image_and_its_prompt(tmp_path: Path) -> None:
    rows = [
        {"preference": (1.0, 2.0), "coherence": (6.0, 2.0), "alignment": (0.25, 0.75)},
        {"preference": (1.0, 2.0), "coherence": (0.0, 5.0), "alignment": (1.0, 3.0)},
    ]
    _, ratings = read("rapidata", write_parquet(tmp_path / "a.parquet", new(rows)))
    assert [(r["row"], r["image_uid"], r["name"], r["value"], r["prompt"], r["reason"]) for r in ratings] == [
        (0, uid_of(picture(0)), "rapidata-coherence", 0.75, "prompt 0", None),
        (0, uid_of(picture(0)), "rapidata-alignment", 0.25, "prompt 0", None),
        (0, uid_of(picture(1)), "rapidata-coherence", 0.25, "prompt 0", None),
        (0, uid_of(picture(1)), "rapidata-alignment", 0.75, "prompt 0", None),
        (1, uid_of(picture(2)), "rapidata-coherence", 0.0, "prompt 1", None),
        (1, uid_of(picture(2)), "rapidata-alignment", 0.25, "prompt 1", None),
        (1, uid_of(picture(3)), "rapidata-coherence", 1.0, "prompt 1", None),
        (1, uid_of(picture(3)), "rapidata-alignment", 0.75, "prompt 1", None),
    ]


def test_a_set_without_other_questions_has_no_ratings(tmp_path: Path) -> None:
    _, ratings = read("rapidata", write_parquet(tmp_path / "a.parquet", new([{"preference": (1.0, 2.0)}])))
    assert ratings == []


def test_what_was_not_asked_is_left_out_and_a_broken_result_is_a_bad_rating(tmp_path: Path) -> None:
    nan = float("nan")
    rows: list[dict[str, tuple[float | None, float | None]]] = [
        {"preference": (1.0, 2.0), "coherence": pair} for pair in ((None, None), (0.0, 0.0), (-1.0, 3.0), (nan, 1.0))
    ]
    found, ratings = read("rapidata", write_parquet(tmp_path / "a.parquet", new(rows)))
    assert reasons(found) == [None] * 4
    assert [(row["row"], row["reason"]) for row in ratings] == [(2, "bad_rating")] * 2 + [(3, "bad_rating")] * 2


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ((None, None), "no_label"),
        ((0, 0), "no_label"),
        ((1, None), "bad_label"),
        ((-1, 3), "bad_votes"),
    ],
)
def test_rows_that_cannot_be_used_say_why(tmp_path: Path, pair: tuple[Any, Any], expected: str) -> None:
    found, _ = read("rapidata", write_parquet(tmp_path / "a.parquet", old([(5, 4), pair])))
    assert reasons(found) == [None, expected]


def test_a_row_without_an_image_or_with_the_same_twice_says_so(tmp_path: Path) -> None:
    table = old([(5, 4)] * 3)
    cells = [{"bytes": picture(1), "path": None}, None, {"bytes": picture(4), "path": None}]
    found, _ = read(
        "rapidata", write_parquet(tmp_path / "a.parquet", table.set_column(2, "image2", pa.array(cells, CELL)))
    )
    assert reasons(found) == [None, "missing_image", "same_image"]


def test_images_are_read_in_small_batches(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", old([(5, 4)] * 127), row_group_size=50)
    found, _ = read("rapidata", path)
    assert [row["row"] for row in found] == list(range(127))
    assert all(cell(path, row, 1) == picture(2 * row["row"] + 1) for row in found[::25])


def test_ingest_recognises_both_forms(store: Store, tmp_path: Path) -> None:
    report = ingest(store, write_parquet(tmp_path / "old.parquet", old([(1, 2), (2, 1)])), "old")
    assert (report.format, report.pairs_added, report.items_added) == ("rapidata", 2, 4)
    assert [pair["winner"] for pair in pairs_of(store, "old")] == [1, 0]
    assert [(item["row"], item["column"]) for item in items_of(store, "old")] == [
        (0, "image1.bytes"),
        (0, "image2.bytes"),
        (1, "image1.bytes"),
        (1, "image2.bytes"),
    ]
    path = write_parquet(tmp_path / "new.parquet", new([{"preference": (1.0, 2.0), "coherence": (6.0, 2.0)}]))
    report = ingest(store, path, "new")
    assert (report.format, report.pairs_added) == ("rapidata", 1)
    assert pairs_of(store, "new")[0]["winner"] == 1
    assert sorted((row["image_uid"], row["value"]) for row in ratings_of(store, "new")) == sorted(
        [(uid_of(picture(0)), 0.75), (uid_of(picture(1)), 0.25)]
    )
