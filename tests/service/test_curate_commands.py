"""`pairsieve rank` and `pairsieve subset`: previews, explanations, subsets and what sets two apart."""

from pathlib import Path

import pytest
from command_line import pairsieve
from pickapic_factory import Row, write
from scored import score_all

from ranking.ingest import ingest
from ranking.store.blobs import Store
from service.commands.curate import parse_labels, said_stages


@pytest.fixture
def pets(store: Store, tmp_path: Path) -> Store:
    """Margins 8, 6, 5 and 3, and a tie; "turned" prefers the other image of every pair."""
    judged = [
        Row("cat", "c9", "c1", winner=0, user=1),
        Row("cat", "c6", "b0", winner=0, user=1),
        Row("cat", "c0", "c1", winner=None, user=2),
        Row("dog", "d5", "d0", winner=0, user=1),
        Row("dog", "d3", "e0", winner=0, user=3),
    ]
    ingest(store, write(tmp_path / "pets.parquet", judged), "pets")
    score_all(store, "pets", {"sharp@00000000": lambda u: float(u[-1]), "turned@00000000": lambda u: -float(u[-1])})
    return store


MARGIN = ("--metric", "margin", "--scorer", "sharp")


def test_a_preview_shows_the_best_pairs_and_what_became_of_all(pets: Store) -> None:
    shell = pairsieve("rank", "pets", *MARGIN, "--top", "3", "--per-prompt", "1")
    assert shell.status == 0, shell.err
    assert "5 pairs → 4 have a winner → 2 taken (2 over per_prompt.max)" in " ".join(shell.out.split())
    told = pairsieve("rank", "pets", *MARGIN, "--top", "3", "--limit", "2", "--json").json()
    assert [(row["metric"], row["taken"]) for row in told["pairs"]] == [(8.0, True), (6.0, True)]
    assert told["stages"]["left"] == {"flags": 5, "labels": 4, "metric": 4}
    assert told["stages"]["taken"] == 3


def test_a_pair_is_explained_in_words(pets: Store) -> None:
    rows = pairsieve("rank", "pets", *MARGIN, "--json").json()["pairs"]
    shell = pairsieve("rank", "pets", *MARGIN, "--top", "1", "--explain", rows[1]["pair_id"])
    said = " ".join(shell.out.split())
    assert "its margin 6 ranks 2 of 4; the take ends at rank 1, 8" in said
    assert "to change it raise take.count to 2" in said
    assert "sharp.0 6.0000" in said


def test_labels_and_weights_are_options(pets: Store) -> None:
    words = ("subset", "create", "weighted", "--dataset", "pets", *MARGIN, "--top", "100%")
    made = pairsieve(*words, "--labels", "vote:turned,turned,sharp", "--weights", "sharp.0", "--json")
    assert made.status == 2
    assert "weights: sharp.0 is not positive for 1 of the pairs" in made.err  # the tie, to which a vote gives a winner
    told = pairsieve(*words, "--labels", "relabel:turned", "--weights", "label_0", "--json").json()
    assert (told["recipe"]["labels"], told["recipe"]["weights"]) == ({"relabel": "turned"}, {"field": "label_0"})
    assert (told["rows"], told["statistics"]["after"]["fields"]) == (5, {"label_0": 0.9})


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("human", "human"),
        ("random", "random"),
        ("relabel:a", {"relabel": "a"}),
        ("vote:a,b", {"vote": ["a", "b"]}),
        ("soft:label_confidence", {"soft": "label_confidence"}),
    ],
)
def test_labels_are_spelled_with_a_colon(text: str, labels: object) -> None:
    assert parse_labels(text) == labels


def test_two_subsets_are_compared(pets: Store) -> None:
    for name, top in (("small", "2"), ("large", "4")):
        assert pairsieve("subset", "create", name, "--dataset", "pets", *MARGIN, "--top", top).status == 0
    told = pairsieve("subset", "diff", "small", "large", "--json").json()
    assert (told["common"], told["jaccard"], told["overlap"]) == (2, 0.5, 1.0)
    shell = pairsieve("subset", "diff", "small", "large")
    said = " ".join(shell.out.split())
    assert "in both 2; only in the first 0, only in the second 2" in said
    assert "Spearman 1.0000, Kendall 1.0000" in said
    assert "take.count 2 4" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scorer", "shrap"), "metric: unknown scorer 'shrap'; did you mean sharp"),
        (("--scorer", "sharp", "--top", "0%"), "take.percent"),
        (("--scorer", "sharp", "--labels", "vote:sharp,nobody"), "labels: unknown scorer 'nobody'"),
        (("--scorer", "sharp", "--weights", "sharp.gab"), "weights: unknown field 'sharp.gab'"),
    ],
)
def test_what_does_not_fit_is_one_line_with_its_place(pets: Store, words: tuple[str, ...], said: str) -> None:
    shell = pairsieve("rank", "pets", "--metric", "margin", *words)
    assert (shell.status, shell.err.count("\n")) == (2, 1)
    assert said in shell.err


def test_stages_that_leave_nothing_out_are_not_told() -> None:
    stages = {
        "pairs": 1_000_000,
        # As they are kept: in the order of the alphabet.
        "left": {"flags": 887_412, "labels": 880_000, "metric": 880_000, "where": 887_412},
        "capped": {"per_prompt.max": 4_700, "balance.rater.max": 0},
        "taken": 47_300,
    }
    assert said_stages(stages) == (
        "1,000,000 pairs → 887,412 pass where → 880,000 have a winner → 47,300 taken (4,700 over per_prompt.max)"
    )


def test_a_recipe_file_needs_no_name_where_the_command_gives_one(pets: Store, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("metric: {name: margin, scorer: sharp}\ntake: {count: 2}\nlabels: {vote: [sharp, turned, sharp]}\n")
    made = pairsieve("subset", "create", "two", "--dataset", "pets", "--recipe", file)
    assert made.status == 0, made.err
    shown = pairsieve("subset", "show", "two").out
    assert "take: {count: 2, from: top}" in shown
    assert "vote: [sharp, turned, sharp]" in shown
    refused = pairsieve("subset", "create", "two", "--recipe", file)
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "dataset: missing" in refused.err


def test_a_pair_that_is_taken_whatever_happens_is_given_no_advice(pets: Store) -> None:
    rows = pairsieve("rank", "pets", *MARGIN, "--json").json()["pairs"]
    shell = pairsieve("rank", "pets", *MARGIN, "--top", "1", "--explain", rows[0]["pair_id"])
    assert "taken" in shell.out and "to change it" not in shell.out
