"""What a training of a reward model does, as YAML, as `--set key=value`, and as the hash that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ranking.errors import UnknownNameError, UsageError
from ranking.query import Filter, check_size
from ranking.validation import first_flaw

SCALES = {"clip": 1e-6, "head": 1e-3}
"""The learning rate of each kind where none is set: a tower that knows much needs small steps, a head large ones."""


def _checked_size(tree: Any) -> Any:
    check_size(tree)
    return tree


class RewardConfig(BaseModel):
    """One training. Every field but `device` and `checkpoint_every` decides the result and is part of its identity."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["head", "clip"] = Field(
        default="head", description="a small head on frozen embeddings, or a whole CLIP fine-tuned"
    )
    base: str = Field(
        default="clip-toy",
        min_length=1,
        description="the scorer to start from; for a clip also a folder in open_clip's local-dir layout",
    )
    head: Literal["linear", "bilinear", "mlp"] = Field(default="bilinear", description="the shape of a head")
    hidden: int = Field(default=64, ge=1, le=65_536, description="hidden units of an mlp head")

    where: Annotated[Filter | None, BeforeValidator(_checked_size)] = Field(
        default=None, description="a filter as in a recipe: only these pairs take part"
    )
    weights: Literal["prompt", "none"] = Field(
        default="prompt", description="each example weighs 1 / pairs of its prompt in the training split, or 1"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of each label given to both sides alike")
    validation: float = Field(default=0.1, gt=0, lt=1, description="share of prompts to stop and to tune by")
    test: float = Field(default=0.1, gt=0, lt=1, description="share of prompts that the accuracies are measured on")

    steps: int = Field(default=1000, ge=1, description="optimiser steps, at most")
    batch: int = Field(default=64, ge=1, description="pairs per forward pass")
    accumulate: int = Field(default=1, ge=1, description="forward passes per optimiser step")
    learning_rate: float | None = Field(
        default=None, gt=0, description="peak; if unset 1e-6 for a clip, 0.001 for a head"
    )
    text_learning_rate: float | None = Field(default=None, gt=0, description="of the text tower, if it is another")
    warmup: int = Field(default=50, ge=0, description="steps of linear warm-up")
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="after the warm-up")
    final_rate: float = Field(default=0.01, ge=0, le=1, description="where the cosine ends, as a share of the peak")
    weight_decay: float = Field(default=0.05, ge=0, description="AdamW's, of matrices only")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are cut to this length")
    evaluate_every: int = Field(default=50, ge=1, description="steps between looks at the validation split")
    checkpoint_every: int = Field(default=200, ge=1, description="steps after which it can go on if it is killed")
    patience: int = Field(default=5, ge=0, description="looks without a better one until it stops; 0 never stops")
    keep: Literal["best", "last"] = Field(default="best", description="the best weights by validation, or the last")

    freeze_vision: int = Field(default=0, ge=-1, description="lower blocks of the image tower that stay; -1 is all")
    freeze_text: int = Field(default=0, ge=-1, description="lower blocks of the text tower that stay; -1 is all")
    train_scale: bool = Field(default=True, description="whether the logit scale is trained too")
    flip: bool = Field(default=False, description="mirror all pictures in every second step")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="of the towers' passes (autocast); weights and loss are float32; fp16 on CUDA only"
    )
    checkpointing: bool = Field(default=False, description="less memory for a third more time: recompute activations")
    save: Literal["fp16", "fp32"] = Field(default="fp32", description="precision of the weights that are kept")

    seed: int = Field(default=0, ge=0, lt=2**31, description="of splits, batches and an mlp's first weights")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")

    @model_validator(mode="after")
    def _fits(self) -> RewardConfig:
        if self.validation + self.test > 0.9:
            raise ValueError("validation and test leave less than a tenth to train on")
        return self

    @property
    def rate(self) -> float:
        """The peak learning rate."""
        return self.learning_rate if self.learning_rate is not None else SCALES[self.kind]

    def identity(self) -> dict[str, Any]:
        """What decides the result, as plain JSON."""
        value = self.model_dump(mode="json", by_alias=True, exclude={"device", "checkpoint_every"})
        return value | {"learning_rate": self.rate}


def load_reward_config(path: Path | None, settings: list[str] | None = None) -> RewardConfig:
    """The config of a YAML file (or the defaults) with `key=value` settings laid over it.

    UsageError in one line for a file that cannot be read or is no mapping, UnknownNameError with the near names for a
    key that is none.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise UsageError(f"the reward config {path} cannot be read ({reason})") from error
        except yaml.YAMLError as error:
            raise UsageError(f"the reward config {path} is not YAML ({error})") from error
        if not isinstance(loaded, dict | None):
            found = type(loaded).__name__
            raise UsageError(
                f"the reward config {path} holds a {found}, not a mapping", hint="write `key: value` lines"
            )
        values = loaded or {}
    for setting in settings or []:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise UsageError(f"the setting {setting!r} is not key=value", hint="write for example --set steps=200")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"the setting {setting!r} is not YAML after the = ({error})") from error
    return parse_reward_config(values, where=str(path) if path else "the reward config")


def parse_reward_config(values: dict[str, Any], *, where: str = "the reward config") -> RewardConfig:
    """The config of plain values; errors as for `load_reward_config`."""
    for key in values:
        if key not in RewardConfig.model_fields:
            raise UnknownNameError.among(f"key in {where}:", str(key), RewardConfig.model_fields)
    # YAML 1.1 reads 1e-6 as text.
    numbers = {key for key, field in RewardConfig.model_fields.items() if "float" in str(field.annotation)}
    read = {key: _number(value) if key in numbers else value for key, value in values.items()}
    try:
        return RewardConfig.model_validate(read)
    except ValidationError as error:
        flaw = first_flaw(error)
        raise UsageError(f"{flaw.where or 'config'} in {where} does not fit: {flaw.message}") from error


def _number(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
