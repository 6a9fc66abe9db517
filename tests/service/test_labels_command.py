"""`pairsieve labels` and what `ingest` says of the labels: numbers that can be counted by hand."""

from pathlib import Path

from command_line import pairsieve
from pickapic_factory import Row, write

from ranking.store.blobs import Store

JUDGED = [
    Row("cat", "a", "b", winner=0, user=1, model_0="m", model_1="n"),
    Row("cat", "a", "b", winner=1, user=2, model_0="m", model_1="n", ranking=1),
    Row("cat", "c", "d", winner=None, user=2, model_0="m", model_1="n", ranking=2),
    Row("Cat!", "e", "f", winner=0, user=3, model_0="m", model_1="m", ranking=3),
]


def test_ingest_ends_with_what_the_labels_say(store: Store, tmp_path: Path) -> None:
    shell = pairsieve("ingest", write(tmp_path / "a.parquet", JUDGED), "--dataset", "pets")
    assert shell.status == 0, shell.err
    said = " ".join(shell.out.split())
    assert "4 under 2 prompts, 25.0% ties" in said
    assert "contradicted 2 (66.7% of verdicts)" in said
    assert "prompt clusters 1, near-duplicates taken together" in said


def test_labels_shows_raters_and_models(store: Store, tmp_path: Path) -> None:
    pairsieve("ingest", write(tmp_path / "a.parquet", JUDGED), "--dataset", "pets")
    found = pairsieve("labels", "pets", "--json").json()
    assert found["summary"]["contradicted"] == found["summary"]["in_cycles"] == 2
    assert [(rater["rater"], rater["pairs"], rater["agreement"]) for rater in found["raters"]] == [
        ("2", 2, 0.0),
        ("1", 1, 0.0),
        ("3", 1, None),
    ]
    # m and n: one win each and a tie; m against itself does not count.
    assert [(model["model"], model["pairs"], model["win_rate"]) for model in found["models"]] == [
        ("m", 3, 0.5),
        ("n", 3, 0.5),
    ]
    assert found["models"][0]["against"] == {"n": 0.5}
    shell = pairsieve("labels", "pets", "--top", 1)
    assert shell.status == 0
    assert "raters, the busiest first" in shell.out
    assert "win rate" in shell.out


def test_labels_of_an_unknown_dataset_is_one_line(store: Store) -> None:
    shell = pairsieve("labels", "pets")
    assert (shell.status, shell.err.count("\n")) == (2, 1)
