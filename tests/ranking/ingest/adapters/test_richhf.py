"""RichHF-18K: four ratings of each image, under the uid that Pick-a-Pic has for it."""

from pathlib import Path
from typing import Any

import pytest
from adapter_files import adapter, read, source
from adapter_results import ratings_of
from pickapic_factory import Row, write
from tfrecord_factory import example, write_tfrecord

from ranking.ingest import ingest
from ranking.store.blobs import Store

UID = "0a1ed3a5-04f6-4a1b-aee6-d584e7c8ed9c"


def rating(name: str = f"train/{UID}.png", **changes: Any) -> bytes:
    known: dict[str, Any] = {
        "filename": name.encode(),
        "aesthetics_score": 0.25,
        "artifact_score": 0.5,
        "misalignment_score": 0.75,
        "overall_score": 1.0,
        "artifact_map": b"\x89PNG" + b"x" * 10_000,
        "misalignment_map": b"\x89PNG" + b"y" * 10_000,
        "prompt_misalignment_label": b"1 1 0",
    }
    return example({key: value for key, value in {**known, **changes}.items() if value is not None})


def test_each_image_has_its_four_scores_under_the_name_of_its_file(tmp_path: Path) -> None:
    path = write_tfrecord(tmp_path / "train.tfrecord", [rating(), rating("x.y.png", overall_score=0.125)])
    judgements, ratings = read("richhf", path)
    assert judgements == []
    assert [(row["row"], row["image_uid"], row["name"], row["value"]) for row in ratings] == [
        (0, UID, "richhf-aesthetics", 0.25),
        (0, UID, "richhf-artifact", 0.5),
        (0, UID, "richhf-misalignment", 0.75),
        (0, UID, "richhf-overall", 1.0),
        (1, "x", "richhf-aesthetics", 0.25),
        (1, "x", "richhf-artifact", 0.5),
        (1, "x", "richhf-misalignment", 0.75),
        (1, "x", "richhf-overall", 0.125),
    ]
    assert {(row["prompt"], row["reason"]) for row in ratings} == {(None, None)}


def test_a_record_that_cannot_be_used_says_why_and_leaves_the_others_alone(tmp_path: Path) -> None:
    messages = [
        rating(),
        rating(overall_score=None),
        rating(overall_score=float("nan")),
        rating(overall_score=b"1.0"),
        rating(filename=None),
        rating("train/.png"),
        b"\x07 no example",
        rating(),
    ]
    _, ratings = read("richhf", write_tfrecord(tmp_path / "train.tfrecord", messages))
    overall = [(row["row"], row["reason"]) for row in ratings if row["name"] == "richhf-overall"]
    assert overall == [
        (0, None),
        (1, "bad_rating"),
        (2, "bad_rating"),
        (3, "bad_rating"),
        (4, "missing_image"),
        (5, "missing_image"),
        (6, "missing_image"),
        (7, None),
    ]


def test_many_records_come_in_batches(tmp_path: Path) -> None:
    path = write_tfrecord(tmp_path / "a.tfrecord", [rating(f"{n}.png", artifact_map=None) for n in range(600)])
    _, ratings = read("richhf", path)
    assert [row["row"] for row in ratings] == [n for n in range(600) for _ in range(4)]
    assert ratings[-1]["image_uid"] == "599"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
        (b"", "does not begin"),
        (b"PAR1" * 10, "does not begin"),
    ],
)
def test_what_is_no_such_file_says_so(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "train.tfrecord"
    path.write_bytes(content)
    assert why in (adapter("richhf").mismatch(source(path)) or "")


def test_examples_of_another_dataset_are_not_taken(tmp_path: Path) -> None:
    path = write_tfrecord(tmp_path / "a.tfrecord", [example({"filename": b"a.png", "label": 1})])
    assert adapter("richhf").mismatch(source(path)) == (
        "its examples have no aesthetics_score, artifact_score, misalignment_score, overall_score"
    )


def test_ingest_joins_the_ratings_to_pick_a_pic_s_images(store: Store, tmp_path: Path) -> None:
    ingest(store, write(tmp_path / "a.parquet", [Row("a cat", UID, "other")]), "pets")
    path = write_tfrecord(tmp_path / "train.tfrecord", [rating(), rating("unknown.png")])
    report = ingest(store, path, "pets")
    assert (report.format, report.pairs_added, report.ratings_added) == ("richhf", 0, 4)
    assert report.skipped == {"unknown_image": 4}
    assert {(row["image_uid"], row["name"], row["value"]) for row in ratings_of(store, "pets")} == {
        (UID, "richhf-aesthetics", 0.25),
        (UID, "richhf-artifact", 0.5),
        (UID, "richhf-misalignment", 0.75),
        (UID, "richhf-overall", 1.0),
    }
