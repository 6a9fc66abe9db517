"""The training config: what a run does, as YAML, as `--set key=value`, and as the hash that names the run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ranking.errors import UsageError
from ranking.validation import first_flaw

TOYWORLD = "toyworld"


class EvaluationConfig(BaseModel):
    """How a run is compared with its base model: same prompts, same seeds, judged pair by pair."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: str = Field(
        default=TOYWORLD, description='a text file, one prompt a line, or "toyworld" for its held-out prompts'
    )
    images_per_prompt: int = Field(default=8, ge=1, le=1000)
    inference_steps: int = Field(default=20, ge=1, le=1000, description="DDIM steps")
    guidance: float = Field(default=3.0, ge=0, description="classifier-free guidance scale")
    seed: int = Field(default=1234, ge=0, description="seed of the first image; the others follow")
    judges: tuple[str, ...] = Field(
        default=("oracle", "preference-toy"),
        min_length=1,
        description='scorer names, and "oracle" where the prompts are of Toyworld',
    )


class TrainConfig(BaseModel):
    """One training. Every field is part of the run's identity.

    `beta` weighs the KL penalty as the public Diffusion-DPO code does: errors are means over a latent's elements
    and the logit is −β/2 · (Δ_policy − Δ_reference), so 2000 to 5000 is the published range at any resolution.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default=TOYWORLD, min_length=1, description='"toyworld", or a Stable-Diffusion folder or hub name'
    )
    method: Literal["dpo"] = "dpo"
    beta: float = Field(default=2000.0, gt=0)
    steps: int = Field(default=160, ge=1, description="optimiser steps")
    batch: int = Field(default=24, ge=1, description="pairs per forward pass")
    accumulate: int = Field(default=1, ge=1, description="forward passes per optimiser step")
    learning_rate: float = Field(default=5e-5, gt=0)
    warmup: int = Field(default=20, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    prompt_dropout: float = Field(default=0.1, ge=0, le=1, description="share of pairs trained without prompt")
    resolution: int | None = Field(default=None, ge=8, description="side of the pictures; the model's own if unset")
    seed: int = Field(default=0, ge=0)
    device: Annotated[str, Field(description="auto, cpu, cuda, cuda:1, mps")] = "auto"
    evaluation: EvaluationConfig | None = Field(
        default=EvaluationConfig(), description="run after training; null for none"
    )


def load_config(path: Path | None, settings: list[str] | None = None) -> TrainConfig:
    """The config of a YAML file (or the defaults) with `key=value` settings applied; dots reach into blocks.

    Raises UsageError in one line for a missing file, text that is no mapping, unknown keys and bad values.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text())
        except OSError as error:
            raise UsageError(f"the training config {path} cannot be read ({error.strerror})") from error
        except yaml.YAMLError as error:
            raise UsageError(f"the training config {path} is not YAML ({error})") from error
        if not isinstance(loaded, dict | None):
            raise UsageError(
                f"the training config {path} holds a {type(loaded).__name__}, not a mapping",
                hint="write `key: value` lines",
            )
        values = loaded or {}
    for setting in settings or []:
        _apply(values, setting)
    return parse_config(values, where=str(path) if path else "the training config")


def parse_config(values: dict[str, Any], *, where: str = "the training config") -> TrainConfig:
    """The config of plain values; UsageError naming the first field that does not fit."""
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        flaw = first_flaw(error)
        known = f"fields are {', '.join(TrainConfig.model_fields)}" if flaw.unknown_key else ""
        raise UsageError(f"{flaw.where or 'config'} in {where} does not fit: {flaw.message}", hint=known) from error


def _apply(values: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise UsageError(f"the setting {setting!r} is not key=value", hint="write for example --set steps=200")
    place = values
    *parents, last = path.split(".")
    for parent in parents:
        inner = place.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise UsageError(f"the setting {setting!r} reaches into {parent}, which is not a block")
        place = inner
    place[last] = yaml.safe_load(text)
