"""Studies as they are written: what is refused, in one line that names the place."""

from pathlib import Path
from typing import Any

import pytest

from ranking.errors import UsageError
from training.study.spec import CONTROLS, load_study, parse_study

MARGIN = {"name": "margin", "scorer": "sharp"}
GOOD: dict[str, Any] = {"name": "s", "dataset": "toys", "arms": [{"name": "best", "metric": MARGIN}]}
EXAMPLES = Path(__file__).parents[3] / "examples"


def test_a_study_of_one_arm_gets_every_control_three_seeds_and_a_twentieth_of_the_pairs() -> None:
    spec = parse_study(GOOD)
    assert tuple(control.called for control in spec.controls) == CONTROLS
    assert (spec.seeds, spec.budget.percent, spec.train) == ((0, 1, 2), 5.33, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"armz": []}, "unknown key 'armz'"),
        ({"arms": []}, "arms: "),
        ({"arms": [{"name": "best"}]}, "arm best: it is empty"),
        ({"arms": [{"metric": MARGIN}]}, "arms[0]: it has no name"),
        ({"arms": [GOOD["arms"][0]] * 2}, "two arms are called best"),
        ({"arms": [{"name": "random", "metric": MARGIN}]}, "two arms are called random"),
        ({"arms": [{"name": "no way", "metric": MARGIN}]}, "arms[0]: arm name 'no way'"),
        ({"arms": [{"name": "a", "metric": MARGIN, "seed": 3}]}, "arm a: seed has no place here"),
        ({"defaults": {"dataset": "dogs"}}, "defaults: dataset has no place here"),
        ({"budget": {"percent": 0}}, "budget.percent"),
        ({"budget": {"percent": 5, "count": 5}}, "exactly one of percent and count"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "seeds: one is there twice"),
        ({"judges": ["coverage", "coverage"]}, "judges: one is there twice"),
        ({"controls": ["sorted"]}, "controls[0].control"),
        ({"controls": [{"control": "random", "of": "best"}]}, "the control random is of no arm"),
        ({"controls": [{"control": "bottom", "of": "beast"}]}, "there is no arm beast; there are best"),
        ({"controls": [{"control": "all", "scorer": "sharp"}]}, "the control all has no scorer"),
        ({"train": {"stepz": 3}}, "stepz"),
        ({"train": {"seed": 3}}, "train: seed has no place here"),
        ({"train": {"evaluation": None}}, "ok"),
        ({"train": {"evaluation": {"judges": ["oracle"]}}}, "train.evaluation: judges has no place here"),
        ({"train": {"evaluation": 3}}, "train.evaluation"),
        ({"snapshot": 0}, "snapshot"),
        ({"name": "A B"}, "study name 'A B' is not allowed"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_the_place(changes: dict[str, Any], said: str) -> None:
    if said == "ok":
        parse_study(GOOD | changes)
        return
    with pytest.raises(UsageError) as refused:
        parse_study(GOOD | changes, where="study s.yaml")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_or_is_no_map_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "torn.yaml").write_text("{a: [")
    for name, said in (("list.yaml", "not a map"), ("torn.yaml", "not valid YAML"), ("gone.yaml", "cannot be read")):
        with pytest.raises(UsageError, match=f"{name}.*{said}"):
            load_study(tmp_path / name)


def test_the_same_study_written_otherwise_has_the_same_identity() -> None:
    spelled = GOOD | {"seeds": [0, 1, 2], "budget": {"percent": 5.33}, "controls": [{"control": c} for c in CONTROLS]}
    assert parse_study(GOOD).canonical() == parse_study(spelled).canonical()
    assert parse_study(GOOD | {"seeds": [0]}).canonical() != parse_study(GOOD).canonical()
    assert parse_study(parse_study(spelled).canonical()) == parse_study(GOOD)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("study-*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_studies(path: Path) -> None:
    assert load_study(path).arms
