"""What a run leaves of its model, laid out as diffusers loads it: the trained denoiser or its adapters, and the rest of
the pipeline where that is small or asked for. No file says where on this machine a model came from."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.blocks import SaveConfig
from training.models import lora
from training.models.describe import PIPELINES, Description, meta_denoiser
from training.models.sources import ModelError
from training.models.weight_files import weight_files
from training.precision import DTYPES

SMALL = 64 * 2**20
"""Bytes of the rest of a pipeline below which it is saved unless the config says otherwise."""


def save(folder: Path, denoiser: Any, description: Description, config: SaveConfig) -> None:
    """Write a denoiser, or the adapters it has, and the rest of the pipeline where `config` says so."""
    folder.mkdir(parents=True, exist_ok=True)
    dtype = DTYPES[config.precision]
    if lora.has_adapters(denoiser):
        lora.save_adapters(folder, denoiser, description.family, dtype=dtype)
        return
    if any(value.dtype != dtype for value in denoiser.state_dict().values() if value.is_floating_point()):
        state = {key: value.to(dtype) for key, value in denoiser.state_dict().items()}
        denoiser = with_weights(description, state)
    _save_denoiser(folder / description.part, denoiser)
    if saves_pipeline(description, config):
        _save_rest(folder, description)


def saves_pipeline(description: Description, config: SaveConfig) -> bool:
    """Whether the rest of the pipeline is saved with a fine-tuned denoiser."""
    if config.pipeline is not None:
        return config.pipeline
    return bytes_of_rest(description) < SMALL


def bytes_of_rest(description: Description) -> int:
    """What the frozen parts' weights take on disk."""
    parts = [description.part_folder("vae"), *map(description.part_folder, description.text_parts)]
    return sum(path.stat().st_size for part in parts for path in weight_files(part).paths)


def load(folder: Path, base: Any, description: Description) -> nn.Module:
    """What `save` wrote, as a frozen denoiser; adapters are put on a copy of `base`.

    Raises ModelError where there is neither.
    """
    if (folder / lora.FILE).is_file():
        tuned = copy.deepcopy(base)
        if lora.has_adapters(tuned):
            tuned.unload_lora()
        lora.load_adapters(tuned, folder, description.family)
        return tuned.requires_grad_(False).eval()
    if not (folder / description.part / "config.json").is_file():
        raise ModelError(f"there is no trained {description.part} and no adapter in {folder.name}")
    loaded, _ = type(base).from_pretrained(
        folder / description.part,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    return loaded.requires_grad_(False).eval()


def with_weights(description: Description, state: Mapping[str, Tensor]) -> nn.Module:
    """A frozen denoiser of the described shape with these weights, which it does not copy.

    Raises RuntimeError for names or shapes that are not its own.
    """
    module = meta_denoiser(description.family, description.configs[description.part])
    module.load_state_dict(dict(state), strict=True, assign=True)
    return module.requires_grad_(False).eval()


def _save_denoiser(folder: Path, denoiser: Any) -> None:
    from diffusers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        denoiser.save_pretrained(folder, safe_serialization=True, max_shard_size="4GB")  # a bucket takes 5
    finally:
        if shown:
            logging.enable_progress_bar()
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(_placeless(config), indent=2, sort_keys=True) + "\n")


def _save_rest(folder: Path, description: Description) -> None:
    kept = {description.part, "scheduler", "vae", *description.text_parts}
    kept |= {part for part in description.index if part.startswith("tokenizer") and _text_of(part) in kept}
    index = {
        key: (value if key in kept else [None, None]) if isinstance(value, list) else value
        for key, value in _placeless(dict(description.index)).items()
    }
    if "requires_safety_checker" in index:
        index["requires_safety_checker"] = False
    index["_class_name"] = PIPELINES[description.family]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    for part in sorted(kept - {description.part}):
        _copy_part(description.part_folder(part), folder / part)


def _copy_part(source: Path, folder: Path) -> None:
    """Configs without their places, weights under plain names even where only a half-precision variant is there."""
    folder.mkdir(exist_ok=True)
    found = weight_files(source)
    for path in sorted(source.iterdir()):
        if path.name in ("config.json", "scheduler_config.json"):
            config = _placeless(json.loads(path.read_text()))
            (folder / path.name).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        elif path in found.paths:
            shutil.copyfile(path, folder / found.plain(path.name))
        elif path == found.index:
            (folder / found.plain(path.name)).write_text(found.plain(path.read_text()))
        elif path.is_file() and path.suffix in (".json", ".txt", ".model") and ".index." not in path.name:
            shutil.copyfile(path, folder / path.name)


def _text_of(tokenizer: str) -> str:
    return tokenizer.replace("tokenizer", "text_encoder")


def _placeless(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "_name_or_path"}
