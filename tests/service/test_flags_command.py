"""`pairsieve flags …` as people and scripts use it."""

import shutil
from pathlib import Path

import pytest
from command_line import pairsieve
from service_factory import Site

from ranking.flags.words import this_person


@pytest.fixture
def pair(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pair of a store that the test may write to, and that the environment names."""
    shutil.copytree(site.store.workspace, tmp_path / "store")
    monkeypatch.setenv("PAIRSIEVE_STORE", str(tmp_path / "store"))
    found: str = site.client.get("/v1/pairs?dataset=toy&limit=1").json()["items"][0]["pair_id"]
    return found


def test_a_mark_is_added_listed_shown_and_withdrawn(pair: str) -> None:
    added = pairsieve("flags", "add", pair, "--kind", "wrong-label", "--why", "three legs", "--json").json()
    assert (added["kind"], added["by"], added["new"]) == ("wrong_label", this_person(), True)
    listed = pairsieve("flags", "list", "--json").json()
    assert ([row["id"] for row in listed["marks"]], listed["total"]) == ([added["id"]], 1)
    assert "three legs" in pairsieve("flags", "list").out
    assert pairsieve("flags", "show", added["id"], "--json").json()["why"] == "three legs"
    ended = pairsieve("flags", "withdraw", added["id"], "--by", "bob", "--json").json()
    assert (ended["withdrawn"], ended["by"], ended["new"]) == (added["id"], "bob", True)
    assert pairsieve("flags", "list", "--json").json()["total"] == 0
    assert pairsieve("flags", "list", "--withdrawn", "--json").json()["total"] == 1


def test_a_new_mark_makes_a_new_snapshot(pair: str) -> None:
    assert pairsieve("snapshot", "create", "--json").json()["snapshot"] == 2  # there is a dataset newer than the first
    assert "pairsieve snapshot create" in pairsieve("flags", "add", pair, "--kind", "unsafe").out
    created = pairsieve("snapshot", "create", "--json").json()
    assert (created["snapshot"], created["flags"]) == (3, "1 marks, 0 take-downs")
    assert pairsieve("snapshot", "create", "--json").json()["snapshot"] == 3
    assert pairsieve("store", "audit").status == 0


def test_mistakes_get_one_line_with_what_is_near(pair: str) -> None:
    for words, part in (
        (("add", pair, "--kind", "unsave"), "unsafe"),
        (("add", pair[:-1] + "x", "--kind", "unsafe"), pair),
        (("add", pair, "--kind", "unsafe", "--dataset", "toyy"), "toy"),
        (("take-down", "img-3x", "--reason", "x", "--dataset", "toy"), "img-3"),
        (("withdraw", "f" * 16), "flags list"),
        (("show", "nonsense"), "not one of ours"),
    ):
        done = pairsieve("flags", *words)
        assert done.status != 0
        assert done.err.count("\n") == 1
        assert part in done.err


def test_marks_come_from_a_file_and_go_to_one(pair: str, tmp_path: Path) -> None:
    file = tmp_path / "marks.csv"
    file.write_text(f"pair_id,why\n{pair},legs\n")
    words = ("flags", "import", file, "--dataset", "toy", "--kind", "duplicate", "--json")
    first, again = pairsieve(*words).json(), pairsieve(*words).json()
    assert (first["new"], first["known"], again["new"], again["known"]) == (1, 0, 0, 1)
    out = tmp_path / "out.jsonl"
    assert pairsieve("flags", "export", out, "--dataset", "toy", "--json").json()["marks"] == 1
    assert f'"pair_id":"{pair}"' in out.read_text()
    assert pairsieve("flags", "withdraw", first["batch"]).status == 0
    assert pairsieve("flags", "list", "--json").json()["total"] == 0


def test_an_image_is_taken_down_and_comes_back(pair: str) -> None:
    del pair
    done = pairsieve("flags", "take-down", "img-9", "--dataset", "toy", "--reason", "private", "--json").json()
    assert (done["new"], done["images"]) == (True, {"toy": ["img-9"]})
    assert done["pairs"]["toy"] > 0
    assert "private" in pairsieve("flags", "list").out
    said = pairsieve("flags", "take-down", "img-9", "--dataset", "toy", "--reason", "private").out
    assert "source files are yours" in " ".join(said.split())
    assert pairsieve("flags", "withdraw", done["id"], "--json").json()["what"] == "take-down"
    assert pairsieve("flags", "list", "--json").json()["takedowns"] == []
