"""What does not fit is said in our words, at the place that was written."""

from pathlib import Path
from typing import Any

import pytest

from ranking.errors import UsageError
from ranking.subsets.recipe import load_recipe, parse_recipe

RECIPE = {"name": "best", "dataset": "pets", "metric": {"name": "random"}, "take": {"percent": 5}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"take": {"percent": 0}}, "take.percent: must be above 0, not 0"),
        ({"take": {"percent": 101}}, "take.percent: must be at most 100, not 101"),
        ({"take": {"percent": float("nan")}}, "take.percent: must be at most 100, not nan"),
        ({"take": {"percent": "5%"}}, "take.percent: must be a number, not '5%'"),
        ({"per_prompt": 4}, "per_prompt: must be a map of keys, not 4"),
        ({"where": {"and": [{"not": {"field": "winner", "op": "ge", "value": 1}}]}}, "where.and[0].not.op: must be"),
        ({"where": {"and": []}}, "where.and: must have 1 or more"),
        ({"labels": {"relable": "a"}}, "labels: must be human, random, {relabel: SCORER}, {vote: [SCORER, …]}"),
        ({"labels": "humans"}, "labels: must be human, random"),
        ({"labels": {"vote": []}}, "labels.vote: must have 1 or more"),
        ({"labels": {"vote": "clip"}}, "labels.vote: must be a list, not 'clip'"),
        ({"weights": {"field": "a", "low": 3.0, "high": 2.0}}, "weights: low, 3, is above high, 2"),
        ({"take": None}, "take: must be a map of keys"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_its_place_and_what_is_wanted(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_recipe(RECIPE | changes)
    assert said in caught.value.message
    assert not [word for word in (".leaf", "Input should", "instance of") if word in caught.value.message]


def test_what_is_not_there_is_missing() -> None:
    with pytest.raises(UsageError, match="take: missing"):
        parse_recipe({key: value for key, value in RECIPE.items() if key != "take"})


def test_a_file_that_is_no_yaml_is_told_the_line(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("name: best\nmetric: [1\nb")
    with pytest.raises(UsageError, match=r"is not valid YAML or JSON \(line 3, column 2: expected ',' or ']'"):
        load_recipe(file)
