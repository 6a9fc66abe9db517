"""Low-rank adapters on a denoiser: added, switched off for the reference, saved and loaded as diffusers does it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ranking.errors import UnknownNameError
from training.blocks import LoraConfig
from training.models.describe import Family

FILE = "pytorch_lora_weights.safetensors"
_ADAPTED = (nn.Linear, nn.Conv2d)


def add_adapters(denoiser: Any, config: LoraConfig, *, seed: int) -> list[nn.Parameter]:
    """Give every module that a target names an adapter, and return the adapters' weights: float32, the only ones that
    are trained. Until then the network is what it was, as the second factor starts at zero (Hu et al. 2021, §4.1).

    Raises UnknownNameError for a target that matches no module.
    """
    from peft import LoraConfig as PeftConfig

    check_targets(denoiser, config.targets)
    denoiser.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser.add_adapter(
            PeftConfig(
                r=config.rank,
                lora_alpha=config.rank if config.alpha is None else config.alpha,
                lora_dropout=config.dropout,
                target_modules=list(config.targets),
                init_lora_weights="gaussian",
            )
        )
    weights = [each for name, each in denoiser.named_parameters() if "lora_" in name]
    for each in weights:
        each.data = each.data.float()
        each.requires_grad_(True)
    denoiser.eval()  # what peft adds is in training mode, dropout and all
    return weights


def check_targets(denoiser: nn.Module, targets: tuple[str, ...]) -> None:
    """Refuse a target that no linear layer or convolution of the denoiser is called by, whole or at the end."""
    names = [name for name, module in denoiser.named_modules() if isinstance(module, _ADAPTED)]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            known = {".".join(name.split(".")[-length:]) for name in names for length in (1, 2)}
            raise UnknownNameError.among(
                "LoRA target", target, {name for name in known if not name.split(".")[0].isdigit()}
            )


def adapter_weights(denoiser: nn.Module, config: LoraConfig) -> int:
    """How many weights adapters of this config have: rank × (in + out) for each layer. Reads shapes only, so the
    denoiser may be on the meta device."""
    check_targets(denoiser, config.targets)
    total = 0
    for name, module in denoiser.named_modules():
        if any(name == target or name.endswith(f".{target}") for target in config.targets):
            if isinstance(module, nn.Linear):
                total += config.rank * (module.in_features + module.out_features)
            elif isinstance(module, nn.Conv2d):
                area = module.kernel_size[0] * module.kernel_size[1]
                total += config.rank * (module.in_channels // module.groups * area + module.out_channels)
    return total


def has_adapters(denoiser: nn.Module) -> bool:
    """Whether a denoiser has adapters."""
    return bool(getattr(denoiser, "peft_config", None))


def let_dropout_work(denoiser: nn.Module) -> None:
    """Put the adapters' dropout to work and nothing else: the network itself stays in eval mode."""
    denoiser.eval()
    for name, module in denoiser.named_modules():
        if name.endswith("lora_dropout"):
            module.train()


@contextmanager
def adapters_off(denoiser: Any) -> Iterator[None]:
    """The network as it was before it had adapters: the reference of a training.

    To be left before the backward pass, which with gradient checkpointing runs the policy's layers once more and would
    do so without adapters.
    """
    trained = [(each, each.requires_grad) for name, each in denoiser.named_parameters() if "lora_" in name]
    denoiser.disable_adapters()
    try:
        yield
    finally:
        denoiser.enable_adapters()
        for each, wanted in trained:  # peft freezes what it switches off and thaws what it switches on
            each.requires_grad_(wanted)


def adapter_state(denoiser: nn.Module) -> dict[str, Tensor]:
    """The adapters' weights by name, on the CPU."""
    from peft.utils import get_peft_model_state_dict

    found: Mapping[str, Tensor] = get_peft_model_state_dict(denoiser)
    return {name: value.detach().cpu() for name, value in found.items()}


def save_adapters(folder: Path, denoiser: Any, family: Family, *, dtype: torch.dtype = torch.float32) -> None:
    """Write `pytorch_lora_weights.safetensors`, with rank and scale, for `pipeline.load_lora_weights`."""
    state = {name: value.to(dtype) for name, value in adapter_state(denoiser).items()}
    config = denoiser.peft_config["default"].to_dict()
    # diffusers puts what it loads into training mode: with its dropout noted, users' pictures would be drawn under it.
    config |= {"target_modules": sorted(config["target_modules"]), "lora_dropout": 0.0, "inference_mode": True}
    part = "transformer" if family == "sd3" else "unet"
    mixin = _mixin(family)
    mixin.save_lora_weights(
        folder,
        safe_serialization=True,
        **{f"{part}_lora_layers": _as_diffusers(state, family), f"{part}_lora_adapter_metadata": _plain(config)},
    )


def load_adapters(denoiser: Any, folder: Path, family: Family) -> None:
    """Put saved adapters on a denoiser that has none, frozen."""
    from diffusers.utils import logging

    shown = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        part = "transformer" if family == "sd3" else "unet"
        denoiser.load_lora_adapter(
            folder, prefix=part, weight_name=FILE, adapter_name="default", use_safetensors=True, local_files_only=True
        )
    finally:
        logging.set_verbosity(shown)
    denoiser.requires_grad_(False).eval()


def _mixin(family: Family) -> Any:
    from diffusers.loaders import lora_pipeline

    return {
        "sd": lora_pipeline.StableDiffusionLoraLoaderMixin,
        "sdxl": lora_pipeline.StableDiffusionXLLoraLoaderMixin,
        "sd3": lora_pipeline.SD3LoraLoaderMixin,
    }[family]


def _as_diffusers(state: Mapping[str, Tensor], family: Family) -> Mapping[str, Tensor]:
    if family == "sd3":
        return state
    from diffusers.utils import convert_state_dict_to_diffusers

    converted: Mapping[str, Tensor] = convert_state_dict_to_diffusers(dict(state))
    return converted


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return plain
