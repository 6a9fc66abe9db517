"""The training config: what a run does, as YAML, as `--set key=value`, and as the hash that names the run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError

from ranking.errors import UnknownNameError, UsageError
from ranking.validation import first_flaw, syntax_flaw
from training.blocks import (
    TOYWORLD,
    Block,
    CacheConfig,
    CheckpointConfig,
    DataConfig,
    EmaConfig,
    EvaluationConfig,
    FlowConfig,
    LoraConfig,
    SaveConfig,
    Seed,
    WatchConfig,
)
from training.methods.needs import needs
from training.methods.options import DEFAULT, METHODS, Dpo, Method

PRESETS = Path(__file__).parent / "presets"


class TrainConfig(Block):
    """One training. Every field is part of the run's identity."""

    model: str = Field(
        default=TOYWORLD,
        min_length=1,
        description='"toyworld", or a folder or hub name (or name@revision) of a diffusers pipeline',
    )
    vae: str | None = Field(
        default=None, min_length=1, description="another VAE, a folder or hub name, as madebyollin/sdxl-vae-fp16-fix"
    )
    flow: FlowConfig = FlowConfig()
    method: Method = Dpo()
    lora: LoraConfig | None = Field(default=None, description="null: every weight of the denoiser is trained")
    steps: int = Field(default=160, ge=1, description="optimiser steps")
    batch: int = Field(default=24, ge=1, description="pairs per forward pass and process")
    accumulate: int = Field(default=1, ge=1, description="forward passes per optimiser step and process")
    processes: int = Field(
        default=1, ge=1, le=1024, description="one per device; the effective batch is batch × accumulate × processes"
    )
    optimiser: Literal["adamw", "adamw-8bit", "adafactor"] = "adamw"
    learning_rate: float = Field(default=5e-5, gt=0)
    scale_learning_rate: Literal["none", "linear", "sqrt"] = Field(
        default="none", description="by effective batch / reference_batch, or by its square root"
    )
    reference_batch: int = Field(
        default=2048, ge=1, description="the effective batch that learning_rate is meant for, where it is scaled"
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(default="constant", description="after the warm-up")
    warmup: int = Field(default=20, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0, description="not for adafactor, which clips its updates at 1")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="of forward passes; weights that are trained and all losses are float32"
    )
    gradient_checkpointing: bool = False
    compile: bool = Field(default=False, description="the denoiser's repeated blocks through torch.compile")
    tf32: bool = Field(default=True, description="TF32 matrix products on CUDA")
    ema: EmaConfig | None = None
    data: DataConfig = DataConfig()
    cache: CacheConfig = CacheConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    save: SaveConfig = SaveConfig()
    watch: WatchConfig = WatchConfig()
    seed: Seed = 0
    device: Annotated[str, Field(description="auto, cpu, cuda, cuda:1, mps")] = "auto"
    evaluation: EvaluationConfig | None = Field(
        default=EvaluationConfig(), description="run after training; null for none"
    )

    @property
    def effective_batch(self) -> int:
        """Pairs per optimiser step."""
        return self.batch * self.accumulate * self.processes

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up, scaled as the config says."""
        ratio = self.effective_batch / self.reference_batch
        power = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}[self.scale_learning_rate]
        return float(self.learning_rate * ratio**power)


def load_config(path: Path | None, settings: list[str] | None = None, *, preset: str | None = None) -> TrainConfig:
    """The config of a YAML file (or the defaults) with `key=value` settings applied; dots reach into blocks. A key
    `preset`, or the argument, names what all of it is laid over.

    Raises UsageError in one line for a missing file, text that is no mapping, unknown keys and bad values.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"the training config {path} cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"the training config {path} is not text in UTF-8") from error
        except yaml.YAMLError as error:
            raise UsageError(f"the training config {path} is not YAML ({syntax_flaw(error)})") from error
        if not isinstance(loaded, dict | None):
            raise UsageError(
                f"the training config {path} holds a {type(loaded).__name__}, not a mapping",
                hint="write `key: value` lines",
            )
        values = loaded or {}
    for setting in settings or []:
        _apply(values, setting)
    if preset is not None and values.setdefault("preset", preset) != preset:
        raise UsageError(
            f"{path or 'the settings'} and --preset name two presets, {values['preset']} and {preset}",
            hint="leave one out",
        )
    return parse_config(values, where=str(path) if path else "the training config")


def parse_config(values: dict[str, Any], *, where: str = "the training config") -> TrainConfig:
    """The config of plain values, laid over those of their `preset` if they name one; UsageError naming the first
    field that does not fit."""
    values = dict(values)
    if (name := values.pop("preset", None)) is not None:
        values = laid_over(preset_values(name), values)
    try:
        config = TrainConfig.model_validate(values)
    except ValidationError as error:
        flaw = first_flaw(error)
        if flaw.unknown_key:
            unknown = UnknownNameError.among("key", flaw.where, _keys_beside(flaw.path, values))
            raise UsageError(f"{unknown.message} in {where}", hint=unknown.hint, code=unknown.code) from error
        raise UsageError(f"{flaw.where or 'config'} in {where} does not fit: {flaw.message}") from error
    check_combination(config, where=where)
    return config


def check_combination(config: TrainConfig, *, where: str) -> None:
    """UsageError for values that fit each for itself and not with one another."""
    wants = needs(config.method)
    draws = config.cache.reference_draws
    flaws = (
        (
            config.data.crop == "random" and config.cache.latents,
            "data.crop is random, and cache.latents keeps one crop of each picture",
            "set cache.latents to false, or data.crop to centre",
        ),
        (
            draws is not None and not wants.reference,
            f"cache.reference_draws is {draws}, and the method {config.method.name} has no reference",
            "leave cache.reference_draws out",
        ),
        (
            draws is not None and wants.reference_predictions,
            f"cache.reference_draws is {draws}, and the method {config.method.name} needs the reference itself",
            "leave cache.reference_draws out",
        ),
        (
            config.scale_learning_rate == "none"
            and "reference_batch" in config.model_fields_set
            and config.reference_batch != TrainConfig.model_fields["reference_batch"].default,
            f"reference_batch is {config.reference_batch}, and scale_learning_rate is none",
            "set scale_learning_rate to linear or sqrt, or leave reference_batch out",
        ),
        (
            config.processes > 1 and ":" in config.device,
            f"device is {config.device}, and {config.processes} processes need one each",
            "set device to auto or cuda",
        ),
    )
    for wrong, what, todo in flaws:
        if wrong:
            raise UsageError(f"{what}, in {where}", hint=todo)


def preset_values(name: Any) -> dict[str, Any]:
    """The values of a preset; UnknownNameError where there is none of this name."""
    known = preset_names()
    if name not in known:
        raise UnknownNameError.among("preset", str(name), known)
    values: dict[str, Any] = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    return values


def preset_names() -> list[str]:
    """What `preset` may name."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def _keys_beside(path: tuple[str, ...], values: dict[str, Any]) -> list[str]:
    """The keys of the block that the last key of a path stands in, as `--set` names them."""
    block: type[BaseModel] = TrainConfig
    for key in path[:-1]:
        if key == "method":
            block = METHODS[values["method"].get("name", DEFAULT)]
        else:
            kinds = (block.model_fields[key].annotation, *get_args(block.model_fields[key].annotation))
            block = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return [".".join([*path[:-1], name]) for name in block.model_fields]


def method_name(value: Any) -> str | None:
    """The name in what stands for a method in a config; None where it says none."""
    return value.get("name") if isinstance(value, dict) else value


def laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Values of a config over others, block by block. A method keeps its options unless another one is named."""
    laid = dict(below)
    for key, value in above.items():
        under = laid.get(key)
        if key == "method":
            under, value = _spelt_out(under), _spelt_out(value)
            if method_name(value) not in (None, method_name(under)):
                under = None  # the options of one method are not another's
        laid[key] = laid_over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return laid


def _spelt_out(method: Any) -> Any:
    return {"name": method} if isinstance(method, str) else method


def _apply(values: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise UsageError(f"the setting {setting!r} is not key=value", hint="write for example --set steps=200")
    place = values
    *parents, last = path.split(".")
    for parent in parents:
        inner = place.get(parent)
        if inner is None:  # unset, or null: a block that is now wanted
            inner = place[parent] = {}
        if parent == "method":
            inner = place[parent] = _spelt_out(inner)
        if not isinstance(inner, dict):
            raise UsageError(f"the setting {setting!r} reaches into {parent}, which is not a block")
        place = inner
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(
            f"the setting {setting!r} is not YAML ({syntax_flaw(error)})",
            hint=f"write text with special characters in quotes, as {path}='\"…\"'",
        ) from error
