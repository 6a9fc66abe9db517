"""Methods and their options in a config, and one clear line for what does not fit."""

from typing import Any

import pytest

from ranking.errors import UnknownNameError, UsageError
from training.config import TrainConfig, load_config, parse_config
from training.methods.needs import check_step
from training.methods.options import METHODS, Dpo, Kto, Rpo, Sft


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_chosen_by_its_name_and_survives_being_written_down(name: str) -> None:
    config = parse_config({"method": name})
    assert config.method == METHODS[name]()
    assert parse_config(config.model_dump(mode="json")) == config
    assert TrainConfig(method=METHODS[name]()) == config


def test_dpo_is_what_options_without_a_name_are_of() -> None:
    assert parse_config({}).method == Dpo()
    assert parse_config({"method": {"beta": 5000}}).method == Dpo(beta=5000)
    assert load_config(None, ["method=rpo", "method.temperature=0.5"]).method == Rpo(temperature=0.5)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"temprature": 1}, "'method.temprature' in"),
        ({"name": "rpo", "temprature": 0.1}, "'method.temprature' in"),
        ({"name": "rpo", "temperature": -1}, "method.temperature in the training config does not fit: must be above 0"),
        ({"name": "rpo", "combine": "product"}, "method.combine in the training config does not fit: must be 'sum'"),
        ({"name": "kto", "beta": "steep"}, "method.beta in the training config does not fit: must be a number"),
        ({"name": "dpo", "beta": float("inf")}, "method.beta in the training config does not fit: must be a finite"),
        ({"name": "dpo", "label_smoothing": 0.5}, "method.label_smoothing in the training config does not fit"),
        ({"name": "dspo", "beta": 1}, "method.beta in the training config does not fit: must be below 1, not 1"),
        ({"name": "sft", "safeguard": 0.9}, "'method.safeguard' in"),
        (3, "method in the training config does not fit: must be the name of a method, or a map"),
    ],
)
def test_an_option_that_does_not_fit_is_told_with_the_path_that_was_written(method: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config({"method": method})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_option_is_answered_with_those_of_its_method() -> None:
    with pytest.raises(UsageError) as caught:
        parse_config({"method": {"name": "kto", "desireable": 1}})
    assert caught.value.hint.startswith("did you mean method.desirable, method.undesirable")
    with pytest.raises(UsageError) as caught:
        parse_config({"data": {"resolutoin": 1}})
    assert caught.value.hint.startswith("did you mean data.resolution")


@pytest.mark.parametrize(("name", "shown"), [("magic", "'magic'"), (3, "'3'"), (["a"], "['a']")])
def test_an_unknown_method_is_answered_with_the_known_ones(name: Any, shown: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_config({"method": {"name": name}})
    assert shown in caught.value.message
    assert all(known in caught.value.hint for known in METHODS)
    with pytest.raises(UnknownNameError, match="did you mean dpo"):
        parse_config({"method": "dppo"})


def test_every_option_is_described_and_bounded() -> None:
    for name, kind in METHODS.items():
        assert kind.__doc__, name
        for option, field in kind.model_fields.items():
            if option == "name":
                continue
            assert field.description, f"{name}.{option}"
            if field.annotation in (float, int, float | None):
                assert field.metadata, f"{name}.{option} takes any number"


def test_rpo_refuses_a_step_with_nothing_to_compare() -> None:
    with pytest.raises(UsageError, match="a step sees 1 pair; raise batch or accumulate"):
        check_step(Rpo(), pairs=1, prompts=50)
    with pytest.raises(UsageError, match="has 1 prompt"):
        check_step(Rpo(), pairs=64, prompts=1)
    check_step(Rpo(), pairs=2, prompts=2)
    for method in (Dpo(), Sft(), Kto()):
        check_step(method, pairs=1, prompts=1)
