"""How a style study is written."""

from training.config import laid_over
from training.methods.options import Dpo, Rpo
from training.style.spec import StyleStudySpec


def test_an_arm_says_of_a_block_only_what_is_other_than_in_the_study() -> None:
    study = StyleStudySpec.model_validate(
        {
            "name": "ink",
            "style": "ink",
            "train": {"method": "rpo", "data": {"flip": True, "resolution": 32}, "steps": 7},
            "arms": [
                {"name": "drop", "train": {"data": {"prompt_dropout": 0.2}}},
                {"name": "sharp", "train": {"method": {"beta": 100}}},
                {"name": "other", "train": {"method": "dpo"}},
            ],
        }
    )
    drop, sharp, other = (study.config(arm, 0) for arm in study.arms)
    assert (drop.data.flip, drop.data.resolution, drop.data.prompt_dropout, drop.steps) == (True, 32, 0.2, 7)
    assert isinstance(sharp.method, Rpo) and sharp.method.beta == 100, "of the study's method"
    assert other.method == Dpo()


def test_naming_a_method_again_keeps_its_options_and_naming_another_drops_them() -> None:
    below = {"method": {"name": "rpo", "beta": 100.0}}
    assert laid_over(below, {"method": "rpo"}) == below
    assert laid_over(below, {"method": "dpo"}) == {"method": {"name": "dpo"}}
