"""HPDv2: pairs whose winner a list names, and ranked groups whose winner the annotators' majority is."""

from pathlib import Path
from typing import Any

import pytest
from adapter_files import labels, read, reasons, uids, votes, write_json
from adapter_results import items_of, pairs_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranking.ingest import ingest
from ranking.ingest.adapters import hpdv2
from ranking.store.blobs import Store


def pair(preference: Any, *, paths: Any = ("a.jpg", "b.jpg"), prompt: Any = "a cat", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "file_path": paths, "human_preference": preference, **more}


def group(
    ranks: list[list[int]], *, paths: Any = ("a.jpg", "b.jpg", "c.jpg"), rank: Any = (1, 2, 3), prompt: Any = "a cat"
) -> dict[str, Any]:
    given = [{"rank": each, "user_hash": f"user-{number}"} for number, each in enumerate(ranks)]
    return {"prompt": prompt, "image_path": paths, "rank": rank, "raw_annotations": given}


def test_the_winner_of_a_training_pair_is_where_the_one_stands(tmp_path: Path) -> None:
    rows = [pair([1, 0]), pair([0, 1]), pair([1, 1]), pair([0, 0])]
    found, ratings = read("hpdv2", write_json(tmp_path / "train.json", rows))
    assert labels(found) == [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.5, 0.5)]
    assert reasons(found) == [None] * 4
    assert votes(found) == [(None, None)] * 4
    assert (uids(found)[0], ratings) == (("train/a.jpg", "train/b.jpg"), [])
    assert [row["row"] for row in found] == [0, 1, 2, 3]


def test_who_judged_is_kept_where_the_file_says_it(tmp_path: Path) -> None:
    found, _ = read("hpdv2", write_json(tmp_path / "train.json", [pair([1, 0], user_hash="u1"), pair([1, 0])]))
    assert [row["rater"] for row in found] == ["u1", None]


def test_a_ranked_group_becomes_all_its_pairs_with_the_votes_of_all_annotators(tmp_path: Path) -> None:
    # Three annotators; a before b: 2 of 3, a before c: 3 of 3, b before c: 1 of 3 (a lower rank is better).
    rows = [group([[1, 2, 3], [1, 3, 2], [2, 1, 2]], rank=(3, 2, 1))]
    rows[0]["raw_annotations"][2]["rank"] = [2, 1, 3]
    rows[0]["raw_annotations"][0]["rank"] = [1, 3, 2]
    found, _ = read("hpdv2", write_json(tmp_path / "test.json", rows))
    assert uids(found) == [
        ("test/a.jpg", "test/b.jpg"),
        ("test/a.jpg", "test/c.jpg"),
        ("test/b.jpg", "test/c.jpg"),
    ]
    assert votes(found) == [(2.0, 1.0), (3.0, 0.0), (1.0, 2.0)]
    assert labels(found) == [(1.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    assert [(row["row"], row["rater"], row["reason"]) for row in found] == [(0, None, None)] * 3


def test_annotators_in_equal_numbers_make_a_tie_and_an_equal_rank_counts_for_nobody(tmp_path: Path) -> None:
    rows = [group([[1, 2], [2, 1], [1, 1]], paths=["a.jpg", "b.jpg"], rank=[1, 2])]
    found, _ = read("hpdv2", write_json(tmp_path / "test.json", rows))
    assert (votes(found), labels(found)) == ([(1.0, 1.0)], [(0.5, 0.5)])


def test_without_annotations_the_published_ranks_decide(tmp_path: Path) -> None:
    rows = [group([], rank=[2, 1, 2])]
    del rows[0]["raw_annotations"]
    found, _ = read("hpdv2", write_json(tmp_path / "test.json", rows))
    assert labels(found) == [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    assert (votes(found), reasons(found)) == ([(None, None)] * 3, [None] * 3)


def test_images_lie_in_the_split_s_folder_beside_the_annotations_or_where_the_user_says(tmp_path: Path) -> None:
    path = write_json(tmp_path / "HPD" / "train.json", [pair([1, 0], paths=["a.jpg", "train/b.jpg"])])
    for root, images, expected in (
        (None, None, ["train/a.jpg", "train/b.jpg"]),
        (tmp_path, None, ["HPD/train/a.jpg", "HPD/train/b.jpg"]),
        (None, "/elsewhere", ["a.jpg", "train/b.jpg"]),
    ):
        ((row,), _) = read("hpdv2", path, root=root, images=images)
        assert [row["file_0"], row["file_1"]] == expected
        assert uids([row]) == [("train/a.jpg", "train/b.jpg")]
        assert row["column_0"] is None


BAD_PAIRS = {
    "bad_label": [pair([1]), pair([1, "0"]), pair([2, 0]), pair([1, 0, 0]), pair([None, None])],
    "missing_image": [pair([1, 0], paths=["a.jpg"]), pair([1, 0], paths="ab"), pair([1, 0], paths=["a.jpg", None])],
    "bad_path": [pair([1, 0], paths=["../a.jpg", "b.jpg"]), pair([1, 0], paths=["a.jpg", "/etc/x"])],
    "blank_prompt": [pair([1, 0], prompt=" "), pair([1, 0], prompt=None), pair([1, 0], prompt=7.5)],
    "same_image": [pair([1, 0], paths=["a.jpg", "a.jpg"])],
}


@pytest.mark.parametrize("reason", BAD_PAIRS)
def test_training_pairs_that_cannot_be_used_say_why(tmp_path: Path, reason: str) -> None:
    found, _ = read("hpdv2", write_json(tmp_path / "train.json", [pair([1, 0]), *BAD_PAIRS[reason]]))
    assert reasons(found) == [None] + [reason] * len(BAD_PAIRS[reason])


BAD_GROUPS = {
    "bad_votes": [group([[1, 2], [1, 2, 3]]), group([["1", "2", "3"]]), {**group([]), "raw_annotations": [7]}],
    "missing_image": [group([], paths=["a.jpg"]), group([], paths=[]), group([], paths="abc")],
    "too_many_images": [group([], paths=[f"{n}.jpg" for n in range(65)], rank=list(range(65)))],
    "bad_label": [group([], rank=[1, 2])],
    "bad_path": [group([], paths=["../a.jpg", "../b.jpg", "../c.jpg"])],
}


@pytest.mark.parametrize("reason", BAD_GROUPS)
def test_groups_that_cannot_be_used_say_why_and_leave_the_others_alone(tmp_path: Path, reason: str) -> None:
    rows = [group([[1, 2, 3]]), *BAD_GROUPS[reason], group([[3, 2, 1]], prompt="a dog")]
    found, _ = read("hpdv2", write_json(tmp_path / "test.json", rows))
    assert {row["reason"] for row in found if row["row"] in (0, len(rows) - 1)} == {None}
    assert {row["reason"] for row in found if 0 < row["row"] < len(rows) - 1} == {reason}
    assert {row["row"] for row in found} == set(range(len(rows)))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                name: st.none()
                | st.integers()
                | st.text(max_size=3)
                | st.lists(st.integers(0, 3) | st.text(max_size=2))
                for name in ("prompt", "image_path", "rank", "raw_annotations", "file_path", "human_preference")
            },
        ),
        max_size=4,
    ),
    st.sampled_from([pair([1, 0]), group([[1, 2, 3]])]),
)
def test_whatever_the_rows_hold_each_ends_as_a_pair_or_a_reason(
    tmp_path: Path, rows: list[dict[str, Any]], first: dict[str, Any]
) -> None:
    found, _ = read("hpdv2", write_json(tmp_path / "any.json", [first, *rows]))
    assert {row["row"] for row in found} == set(range(len(rows) + 1))


def test_many_groups_come_in_bounded_batches(tmp_path: Path) -> None:
    names, order = [f"{n}.jpg" for n in range(64)], list(range(64))
    rows = [group([order], paths=names, rank=order, prompt=f"prompt {n}") for n in range(40)]
    found, _ = read("hpdv2", write_json(tmp_path / "test.json", rows))
    assert len(found) == 40 * 64 * 63 // 2
    assert set(labels(found)) == {(1.0, 0.0)}


def test_ingest_recognises_both_forms(store: Store, tmp_path: Path) -> None:
    write_json(tmp_path / "HPD" / "train.json", [pair([0, 1])])
    write_json(tmp_path / "HPD" / "test.json", [group([[1, 2, 3], [1, 3, 2]], prompt="a dog")])
    report = ingest(store, tmp_path / "HPD", "hpd")
    assert (report.format, report.pairs_added, report.items_added) == (hpdv2.ADAPTER.name, 4, 5)
    first, *_, last = sorted(pairs_of(store, "hpd"), key=lambda row: row["source"])
    assert (first["prompt"], first["winner"], first["votes_0"], first["votes_1"]) == ("a dog", 0, 2.0, 0.0)
    assert (last["prompt"], last["winner"]) == ("a cat", 1)
    assert {(item["image_uid"], item["file"]) for item in items_of(store, "hpd")} == {
        (name, name) for name in ("test/a.jpg", "test/b.jpg", "test/c.jpg", "train/a.jpg", "train/b.jpg")
    }
