"""HPDv3: the first path is the winner, always; the votes are what the file says."""

from pathlib import Path
from typing import Any

import pytest
from adapter_files import labels, read, reasons, uids, votes, write_json
from adapter_results import items_of, pairs_of

from ranking.ingest import ingest
from ranking.store.blobs import Store


def row(**changes: Any) -> dict[str, Any]:
    known = {
        "prompt": "a cat",
        "choice_dist": [12, 7],
        "confidence": 0.99,
        "path1": "images/a.jpg",
        "path2": "images/b.jpg",
        "model1": "flux",
        "model2": "infinity",
    }
    return {**known, **changes}


def test_the_first_path_wins_whatever_the_votes_say(tmp_path: Path) -> None:
    rows = [row(), row(choice_dist=[3, 9]), row(choice_dist=[5, 5]), row(choice_dist=None, confidence=None)]
    found, ratings = read("hpdv3", write_json(tmp_path / "all.json", rows))
    assert labels(found) == [(1.0, 0.0)] * 4
    assert votes(found) == [(12.0, 7.0), (3.0, 9.0), (5.0, 5.0), (None, None)]
    assert (reasons(found), ratings) == ([None] * 4, [])
    assert uids(found)[0] == ("images/a.jpg", "images/b.jpg")
    assert (found[0]["model_0"], found[0]["model_1"], found[0]["rater"]) == ("flux", "infinity", None)


def test_pairs_without_votes_or_models_are_the_layout_of_its_successor(tmp_path: Path) -> None:
    rows = [{"path1": "images/qwen_image/p/6.jpg", "path2": "images/qwen_image/p/2.jpg", "prompt": "a cat"}]
    found, _ = read("hpdv3", write_json(tmp_path / "train_aes.json", rows))
    assert (labels(found), votes(found), reasons(found)) == ([(1.0, 0.0)], [(None, None)], [None])


def test_paths_start_beside_the_file_or_where_the_user_says(tmp_path: Path) -> None:
    path = write_json(tmp_path / "HPDv3" / "train.json", [row()])
    for root, images, expected in (
        (None, None, "images/a.jpg"),
        (tmp_path, None, "HPDv3/images/a.jpg"),
        (None, "/elsewhere", "images/a.jpg"),
    ):
        ((found,), _) = read("hpdv3", path, root=root, images=images)
        assert (found["file_0"], found["image_0_uid"]) == (expected, "images/a.jpg")


BAD = {
    "bad_votes": [row(choice_dist=[1]), row(choice_dist=["a", "b"]), row(choice_dist=[0, 0]), row(choice_dist=[-1, 5])],
    "bad_path": [row(path1="../a.jpg"), row(path2="C:\\b.jpg"), row(path1="/a.jpg")],
    "missing_image": [row(path1=None), row(path2=["b.jpg"])],
    "same_image": [row(path2="images/a.jpg")],
    "blank_prompt": [row(prompt=""), row(prompt=None)],
    "long_text": [row(model1="m" * 2_000)],
}


@pytest.mark.parametrize("reason", BAD)
def test_rows_that_cannot_be_used_say_why(tmp_path: Path, reason: str) -> None:
    found, _ = read("hpdv3", write_json(tmp_path / "all.json", [row(), *BAD[reason]]))
    assert reasons(found) == [None] + [reason] * len(BAD[reason])


def test_ingest_recognises_it(store: Store, tmp_path: Path) -> None:
    path = write_json(tmp_path / "train.json", [row(), row(path1="images/b.jpg", path2="images/c.jpg")])
    report = ingest(store, path, "hpd")
    assert (report.format, report.pairs_added, report.items_added) == ("hpdv3", 2, 3)
    assert [(pair["winner"], pair["image_0_uid"], pair["votes_0"]) for pair in pairs_of(store, "hpd")] == [
        (0, "images/a.jpg", 12.0),
        (0, "images/b.jpg", 12.0),
    ]
    assert [item["file"] for item in items_of(store, "hpd")] == ["images/a.jpg", "images/b.jpg", "images/c.jpg"]
