"""Recipes: what may stand in one, what the defaults are, and how errors name the key."""

import json
from pathlib import Path
from typing import Any

import pytest

from ranking.errors import PairsieveError, UsageError
from ranking.subsets.recipe import Relabel, Take, load_recipe, parse_recipe

MINIMAL: dict[str, Any] = {
    "name": "best",
    "dataset": "pets",
    "metric": {"name": "qsd", "scorer": "sharp"},
    "take": {"percent": 5.33},
}

YAML = """
name: best
dataset: pets
where: {and: [{field: is_tie, op: eq, value: false}, {not: {field: rater, op: in, value: ["3", "4"]}}]}
metric: {name: qsd, scorer: sharp, normalize: prompt-z}
take: {percent: 5.33}
per_prompt: {max: 4}
labels: {relabel: hue.2}
seed: 3
"""


def test_a_recipe_reads_the_same_from_yaml_and_json(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(YAML)
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.labels == Relabel(relabel="hue.2")
    assert (recipe.label_source, recipe.seed) == ("relabel:hue.2", 3)
    (tmp_path / "r.json").write_text(json.dumps(recipe.canonical()))
    assert load_recipe(tmp_path / "r.json") == recipe


def test_a_recipe_that_spells_its_defaults_is_the_same_recipe() -> None:
    spelled = MINIMAL | {"metric": MINIMAL["metric"] | {"normalize": "minmax"}, "labels": "human", "seed": 0}
    assert parse_recipe(MINIMAL).canonical() == parse_recipe(spelled).canonical()
    assert parse_recipe(MINIMAL).label_source == "human"


def test_the_example_of_the_design_is_read_as_printed(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        """
name: qsd-top5
dataset: pickapic-v2
where: {and: [{field: is_tie, op: eq, value: false}, {field: label_confidence, op: gte, value: 0.6}]}
metric: {name: qsd, scorer: hpsv2.1, normalize: minmax}     # raw | minmax | prompt-z | sigmoid
take: {percent: 5.33}                                        # or count, or threshold
per_prompt: {max: 4}
diversity: {embedding: clip-l14, method: knn-entropy, weight: 0.2}
labels: human                                                # or {relabel: pickscore-v1} or {vote: [..]}
weights: label_confidence                                    # or none, or any feature
seed: 0
"""
    )
    found = load_recipe(tmp_path / "r.yaml")
    assert found.weights is not None and found.weights.field == "label_confidence"
    assert found.per_prompt is not None and found.per_prompt.max == 4
    changed = [{"labels": {"vote": ["a", "b"]}}, {"labels": {"relabel": "a"}}, {"weights": "none"}]
    again = [parse_recipe(found.canonical() | each) for each in changed]
    assert [each.label_source for each in again] == ["vote", "relabel:a", "human"]
    assert again[2].weights is None


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in MINIMAL.items() if name != key}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (MINIMAL | {"diversity": {"embedding": "clip", "wieght": 0.2}}, "unknown key 'diversity.wieght'"),
        (MINIMAL | {"balance": {"rater": {"max": 1, "share": 0.5}}}, "balance.rater: give exactly one"),
        (MINIMAL | {"balance": {"models": {"share": 1.5}}}, "balance.models.share"),
        (MINIMAL | {"near_duplicates": {"distance": 65}}, "near_duplicates.distance"),
        (MINIMAL | {"weights": {"field": "a", "low": 0.0}}, "weights.low"),
        (MINIMAL | {"take": {"percent": 5, "top": 1}}, "unknown key 'take.top'"),
        (MINIMAL | {"take": {}}, "exactly one"),
        (MINIMAL | {"take": {"percent": 5.0, "count": 3}}, "exactly one"),
        (MINIMAL | {"take": {"percent": 0}}, "take.percent"),
        (MINIMAL | {"take": {"percent": 100.1}}, "take.percent"),
        (MINIMAL | {"take": {"percent": "5"}}, "take.percent"),
        (MINIMAL | {"take": {"count": 0}}, "take.count"),
        (MINIMAL | {"take": {"count": True}}, "take.count"),
        (MINIMAL | {"take": {"threshold": float("nan")}}, "take.threshold"),
        (MINIMAL | {"per_prompt": {"max": 0}}, "per_prompt.max"),
        (MINIMAL | {"labels": "robots"}, "labels"),
        (MINIMAL | {"metric": {"name": "qsd", "scorer": "a", "normalize": "softmax"}}, "metric.normalize"),
        (MINIMAL | {"name": "Best Pairs"}, "not allowed"),
        (MINIMAL | {"where": {"and": [{"not": {"field": 3}}]}}, "where"),
        (MINIMAL | {"seed": -1}, "seed"),
        (without("metric"), "metric"),
        (without("dataset"), "dataset"),
        ([MINIMAL], "not a map"),
        (None, "not a map"),
    ],
)
def test_a_recipe_that_does_not_fit_names_the_key(value: Any, named: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_recipe(value)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_gets_the_list_of_known_ones() -> None:
    with pytest.raises(UsageError, match="a recipe has name, dataset, where, flags, metric, take, per_prompt, balance"):
        parse_recipe(MINIMAL | {"wieghts": "none"})


@pytest.mark.parametrize("text", ["name: [", "{", "\t- x", "!!python/object/apply:os.system [echo]", "", "\x00"])
def test_a_file_that_is_no_recipe_is_a_usage_error(tmp_path: Path, text: str) -> None:
    for name in ("r.yaml", "r.json"):
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError):
            load_recipe(tmp_path / name)


def test_a_missing_recipe_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PairsieveError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PairsieveError, match="not valid"):
        load_recipe(tmp_path / "bytes.yaml")


@pytest.mark.parametrize(
    ("percent", "eligible", "most"),
    [
        (5.33, 1000, 53),  # 53.3
        (5.33, 938_086, 50_000),  # 49 999.98
        (2.5, 100, 3),  # a half goes up
        (12.5, 20, 3),  # 2.5 goes up, not to the even 2
        (0.01, 10, 1),  # at least one
        (100, 7, 7),
        (0.29, 10_000, 29),  # 0.29 × 100 is 28.999999999999996 in binary
    ],
)
def test_percent_is_rounded_half_up_in_decimal(percent: float, eligible: int, most: int) -> None:
    assert Take(percent=percent).most(eligible) == most
