"""`pairsieve store`: what people and scripts see of audit, collection and pins."""

import pytest
from aged import age, age_all
from command_line import pairsieve
from scored import score_all

from ranking.datasets import Dataset
from ranking.store.blobs import Store
from ranking.store.commits import list_commits

ORPHAN = f"data/sharp@00000000/{'a' * 16}/{'b' * 64}.parquet"


@pytest.fixture
def scored(store: Store, dataset: Dataset) -> Store:
    """A store with one scorer's scores and a snapshot."""
    score_all(store, dataset.name, {"sharp@00000000": lambda uid: len(uid) / 8})
    return store


def test_an_audit_shows_ten_lines_and_succeeds(scored: Store) -> None:
    shell = pairsieve("store", "audit")
    assert shell.status == 0, shell.err
    for number in range(1, 11):
        assert f"I{number} " in shell.out
    assert f"{len(list_commits(scored))} files of scores" in " ".join(shell.out.split())


def test_an_audit_as_json_gives_counts_and_findings(scored: Store) -> None:
    found = pairsieve("store", "audit", "--json").json()
    assert (found["ok"], found["deep"], found["findings"]) == (True, True, [])
    assert found["looked"]["6"]["scores"] == sum(commit.rows for commit in list_commits(scored))


def test_damage_is_told_and_the_exit_code_is_1(scored: Store) -> None:
    file = list_commits(scored)[0].file
    scored.delete(file)
    for words in (("store", "audit"), ("store", "audit", "--quick")):
        shell = pairsieve(*words)
        assert shell.status == 1
        assert f"I4 error: {file} is missing" in shell.err
        assert shell.err.strip().splitlines()[-1].startswith("error: ")
    found = pairsieve("store", "audit", "--quick", "--json")
    assert (found.status, found.json()["ok"]) == (1, False)
    assert [(each["invariant"], each["key"]) for each in found.json()["findings"]] == [(4, file)]


def test_gc_without_delete_changes_nothing(scored: Store) -> None:
    scored.put_if_absent(ORPHAN, b"12345")
    age(scored, ORPHAN, days=8)
    before = scored.list("")
    shell = pairsieve("store", "gc", "--list")
    assert shell.status == 0, shell.err
    assert ORPHAN in shell.out and "add --delete" in shell.out
    planned = pairsieve("store", "gc", "--json").json()
    assert [(each["kind"], each["files"], each["bytes"]) for each in planned["would take"]] == [("scores", 1, 5)]
    assert scored.list("") == before


def test_gc_deletes_restores_and_purges(scored: Store) -> None:
    scored.put_if_absent(ORPHAN, b"12345")
    age(scored, ORPHAN, days=8)
    done = pairsieve("store", "gc", "--delete", "--json").json()
    assert (done["taken"], scored.exists(ORPHAN)) == (1, False)
    assert pairsieve("store", "gc", "--json").json()["trash"]["collections"] == [done["id"]]
    assert pairsieve("store", "gc", "--restore", done["id"], "--json").json() == {"restored": [ORPHAN]}
    assert scored.exists(ORPHAN)
    age(scored, ORPHAN, days=8)
    shell = pairsieve("store", "gc", "--delete")
    assert "1 files, 5 bytes" in shell.out and "--restore" in shell.out
    age_all(scored, "trash", days=2)
    assert pairsieve("store", "gc", "--delete", "--json").json()["purged"] == 1
    assert pairsieve("store", "gc", "--restore", done["id"]).status == 1


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [("--older-than", "soon", "not a time"), ("--older-than", "0s", "less than an hour"), ("--grace", "5m", "hour")],
)
def test_ages_that_could_harm_a_writer_are_refused(scored: Store, option: str, value: str, told: str) -> None:
    shell = pairsieve("store", "gc", option, value)
    assert (shell.status, told in shell.err) == (2, True)


def test_pins_are_made_listed_and_released(scored: Store) -> None:
    made = pairsieve("store", "pin", 1, "--name", "paper", "--why", "cited in print", "--json").json()
    assert (made["snapshot"], made["why"]) == (1, "cited in print")
    assert [each["name"] for each in pairsieve("store", "pins", "--json").json()] == ["paper"]
    assert "paper" in pairsieve("store", "pins").out
    score_all(scored, "pets", {"hue@11111111": lambda uid: 0.5})
    age_all(scored, "snapshots", days=100)
    words = ("store", "gc", "--snapshots-older-than", "90d", "--list", "--json")
    assert pairsieve(*words).json()["keys"] == []
    assert pairsieve("store", "unpin", "paper").status == 0
    assert pairsieve(*words).json()["keys"] == ["snapshots/0000000001.json"]
    assert pairsieve("store", "unpin", "paper").status == 1
    assert pairsieve("store", "pin", 7, "--name", "x").status == 1
