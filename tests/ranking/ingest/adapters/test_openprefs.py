"""open-image-preferences-v1: the winner of raw results follows the authors' rule, the chosen image is the winner."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from adapter_files import CELL, cell, labels, picture, read, reasons, source, uid_of, uids, votes, write_parquet
from adapter_results import items_of, pairs_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranking.errors import SourceError
from ranking.ingest import ingest
from ranking.ingest.adapters import Options, openprefs
from ranking.store.blobs import Store

HUB = "https://hub.example/datasets/data-is-better-together/open-image-preferences-v1/resolve/main"
IMAGES = pa.struct([("image_1", pa.string()), ("image_2", pa.string()), ("prompt", pa.string())])


def raw(answers: list[list[str | None] | None], **changes: Any) -> pa.Table:
    count = len(answers)
    images = [
        {"image_1": f"{HUB}/image_quality_dev/{n}.jpg", "image_2": f"{HUB}/image_quality_sd/{n}.jpg", "prompt": "a cat"}
        for n in range(count)
    ]
    texts = pa.list_(pa.string())
    return pa.table(
        {
            "id": [f"{n}-quality" for n in range(count)],
            "images": pa.array([{**image, **changes} for image in images], IMAGES),
            "model_1": ["dev"] * count,
            "model_2": ["sd"] * count,
            "preference.responses": pa.array(answers, texts),
            "preference.responses.users": pa.array([[f"u{k}" for k in range(len(a or []))] for a in answers], texts),
            "preference.responses.status": pa.array([["submitted"] * len(a or []) for a in answers], texts),
        }
    )


def test_the_image_with_more_votes_wins_and_both_good_is_a_vote_for_each(tmp_path: Path) -> None:
    answers: list[list[str | None] | None] = [
        ["both_good", "image_1", "image_1"],  # the example of the authors' notebook
        ["image_2", "image_1", "image_2"],
        ["image_1", "image_2", "both_good"],
        ["both_good", "both_good", "both_bad"],
    ]
    found, ratings = read("openprefs", write_parquet(tmp_path / "a.parquet", raw(answers)))
    assert votes(found) == [(3.0, 1.0), (1.0, 2.0), (2.0, 2.0), (2.0, 2.0)]
    assert labels(found) == [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.5, 0.5)]
    assert (reasons(found), ratings) == ([None] * 4, [])
    assert (found[0]["model_0"], found[0]["model_1"], found[0]["rater"], found[0]["prompt"]) == (
        "dev",
        "sd",
        None,
        "a cat",
    )


def test_rows_without_a_judgement_say_so(tmp_path: Path) -> None:
    answers: list[list[str | None] | None] = [
        ["both_bad", "both_bad", "image_1"],
        ["image_1", "both_bad"],
        ["image_1", "image_2", "both_bad"],
        ["toxic", "toxic_content", "both_good"],
        ["toxic", "toxic", "toxic"],
        [],
        None,
        [None],
    ]
    found, _ = read("openprefs", write_parquet(tmp_path / "a.parquet", raw(answers)))
    assert reasons(found) == ["no_label"] * len(answers)


def test_an_answer_that_the_project_did_not_offer_is_a_bad_vote(tmp_path: Path) -> None:
    found, _ = read("openprefs", write_parquet(tmp_path / "a.parquet", raw([["image_1", "image_3"], ["image_1"]])))
    assert reasons(found) == ["bad_votes", None]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(["image_1", "image_2", "both_good", "both_bad"]), max_size=6), min_size=1))
def test_a_winner_is_where_the_published_rule_finds_one(tmp_path: Path, answers: list[Any]) -> None:
    found, _ = read("openprefs", write_parquet(tmp_path / "a.parquet", raw(answers)))
    for row, given_answers in zip(found, answers, strict=True):
        spread = [part for answer in given_answers for part in _spread(answer)]
        counts = Counter(spread)
        chosen = None
        if counts["image_1"] > counts["image_2"] and counts["image_1"] > counts["both_bad"]:
            chosen = (1.0, 0.0)
        elif counts["image_2"] > counts["image_1"] and counts["image_2"] > counts["both_bad"]:
            chosen = (0.0, 1.0)
        usable = row["reason"] is None and row["label_0"] != 0.5
        assert ((row["label_0"], row["label_1"]) if usable else None) == chosen


def _spread(answer: str) -> list[str]:
    return ["image_1", "image_2"] if answer == "both_good" else [answer]


def test_images_stay_behind_their_addresses_unless_the_user_has_them(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", raw([["image_1"]]))
    ((row,), _) = read("openprefs", path)
    assert uids([row]) == [("image_quality_dev/0.jpg", "image_quality_sd/0.jpg")]
    assert (row["file_0"], row["column_0"]) == (f"{HUB}/image_quality_dev/0.jpg", None)
    ((row,), _) = read("openprefs", path, images="/elsewhere")
    assert (row["file_0"], row["file_1"]) == uids([row])[0]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://example.org/1.jpg", "bad_path"),
        ("/etc/passwd", "bad_path"),
        ("../1.jpg", "bad_path"),
        ("mine/1.jpg", None),
        (None, "missing_image"),
    ],
)
def test_addresses_that_may_not_be_followed_are_refused(
    tmp_path: Path, address: str | None, expected: str | None
) -> None:
    found, _ = read("openprefs", write_parquet(tmp_path / "a.parquet", raw([["image_1"]], image_1=address)))
    assert reasons(found) == [expected]


def test_a_path_below_the_named_folder_may_not_climb_out_of_it(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", raw([["image_1"]], image_1=f"{HUB}/../../x.jpg"))
    found, _ = read("openprefs", path, images="/elsewhere")
    assert reasons(found) == ["bad_path"]


def test_another_kind_of_column_is_one_clear_error(tmp_path: Path) -> None:
    table = pa.table({"images": ["x"], "preference.responses": pa.array([["image_1"]])})
    file = source(write_parquet(tmp_path / "a.parquet", table))
    with pytest.raises(SourceError, match="images"):
        list(openprefs.ADAPTER.read(file, Options()))


def binarised(pairs: list[tuple[bytes | None, bytes | None]]) -> pa.Table:
    # The hub cuts off the folders of both addresses, so that the two images of a row have the same name.
    def cells(side: int) -> pa.Array:
        return pa.array([{"bytes": pair[side], "path": f"{n}.jpg"} for n, pair in enumerate(pairs)], CELL)

    return pa.table(
        {
            "id": [f"{n}-quality" for n in range(len(pairs))],
            "prompt": ["a cat"] * len(pairs),
            "chosen": cells(0),
            "rejected": cells(1),
            "chosen_model": ["sd"] * len(pairs),
            "rejected_model": ["dev"] * len(pairs),
        }
    )


def test_the_chosen_image_is_image_0_and_wins(tmp_path: Path) -> None:
    pictures = [(picture(2 * n), picture(2 * n + 1)) for n in range(5)]
    path = write_parquet(tmp_path / "a.parquet", binarised(pictures))
    found, _ = read("openprefs", path)
    assert (labels(found), reasons(found)) == ([(1.0, 0.0)] * 5, [None] * 5)
    assert uids(found) == [(uid_of(chosen), uid_of(rejected)) for chosen, rejected in pictures]
    assert [(cell(path, row, 0), cell(path, row, 1)) for row in found] == pictures
    assert (found[0]["model_0"], found[0]["model_1"]) == ("sd", "dev")


def test_a_row_without_one_of_its_images_says_so(tmp_path: Path) -> None:
    table = binarised([(picture(1), picture(2)), (None, picture(3))])
    table = table.set_column(2, "chosen", pa.array([{"bytes": picture(1), "path": None}, None], CELL))
    found, _ = read("openprefs", write_parquet(tmp_path / "a.parquet", table))
    assert reasons(found) == [None, "missing_image"]


def test_ingest_recognises_both_forms(store: Store, tmp_path: Path) -> None:
    report = ingest(store, write_parquet(tmp_path / "raw.parquet", raw([["image_2"], ["image_1"]])), "raw")
    assert (report.format, report.pairs_added) == ("openprefs", 2)
    assert [pair["winner"] for pair in pairs_of(store, "raw")] == [1, 0]
    assert items_of(store, "raw")[0]["file"] == f"{HUB}/image_quality_dev/0.jpg"
    path = write_parquet(
        tmp_path / "binarised.parquet", binarised([(picture(1), picture(2)), (picture(3), picture(1))])
    )
    report = ingest(store, path, "binarised")
    assert (report.format, report.pairs_added, report.items_added) == ("openprefs", 2, 3)
    assert [pair["winner"] for pair in pairs_of(store, "binarised")] == [0, 0]
    places = [(item["row"], item["column"], item["image_uid"]) for item in items_of(store, "binarised")]
    assert places == [
        (0, "chosen.bytes", uid_of(picture(1))),
        (0, "rejected.bytes", uid_of(picture(2))),
        (1, "chosen.bytes", uid_of(picture(3))),
    ]
