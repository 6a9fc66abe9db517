"""A style study as it is written: which style, which methods, how they are trained and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from ranking.errors import PairsieveError, UsageError
from ranking.names import check_name
from ranking.validation import first_flaw
from training.blocks import TOYWORLD, Block, Seed
from training.config import TrainConfig, laid_over, parse_config


class StyleArm(Block):
    """One row: a training with `train` laid over the study's, block by block. `after` names the arm whose model it
    starts from, seed by seed; `labels: random` is the control whose winners are drawn by lot."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    train: dict[str, Any] = Field(default_factory=dict)
    after: str | None = None
    labels: str = Field(default="human", pattern="^(human|random)$")


class MeasureConfig(Block):
    """How pictures are drawn and on what networks they are compared (see `training.style.measure`)."""

    images_per_prompt: int = Field(default=4, ge=1, le=1000)
    inference_steps: int = Field(default=10, ge=1, le=1000)
    guidance: float = Field(default=3.0, ge=0)
    seed: Seed = 1234
    features: str = "clip-toy"
    texture: str = "random"


class StyleStudySpec(Block):
    """A study of one style on one dataset. `pictures` at most are taken from it, of which those of `held_out` of the
    prompts are references. `train` is laid under every arm."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    style: str
    dataset: str = Field(default=TOYWORLD, description='"toyworld": made for the study, without label noise')
    pictures: int = Field(default=800, ge=2)
    held_out: float = Field(default=0.2, gt=0, lt=1, description="share of prompts")
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(default=(0, 1, 2), min_length=1)
    train: dict[str, Any] = Field(default_factory=dict)
    arms: tuple[StyleArm, ...] = Field(min_length=1)
    measure: MeasureConfig = MeasureConfig()

    def config(self, arm: StyleArm, seed: int, *, model: str | None = None) -> TrainConfig:
        """The training of one cell, from `model` where it starts from another arm's."""
        values = laid_over({"evaluation": None} | self.train, arm.train) | {"seed": seed}
        if model is not None:
            values["model"] = model
        return parse_config(values, where=f"arm {arm.name} of style study {self.name}")


def load_style_study(path: Path) -> StyleStudySpec:
    """The study of a YAML file; UsageError in one line for what does not fit."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        spec = StyleStudySpec.model_validate(values)
    except OSError as error:
        raise UsageError(f"style study {path} cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise UsageError(f"style study {path} is not YAML ({error})") from error
    except ValidationError as error:
        flaw = first_flaw(error)
        raise UsageError(f"style study {path} does not fit: {flaw.where or 'study'}: {flaw.message}") from error
    check_name("dataset", spec.dataset)
    known: set[str] = set()
    for arm in spec.arms:
        if arm.name in known:
            raise UsageError(f"style study {path}: there are two arms {arm.name}")
        if arm.after is not None and arm.after not in known:
            raise UsageError(
                f"style study {path}: arm {arm.name} comes after {arm.after}, which is no arm before it",
                hint="write that arm first",
            )
        try:
            spec.config(arm, spec.seeds[0])
        except PairsieveError as error:
            raise UsageError(f"style study {path}: {error.message}", hint=error.hint) from error
        known.add(arm.name)
    return spec
