"""A CLIP to fine-tune: loaded from the files of a scorer or a folder, trained whole or in its upper blocks, and written
as files that `workers.scorers.clip:preference` reads."""

from __future__ import annotations

import re
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from ranking.errors import UsageError
from training.reward.config import RewardConfig
from training.reward.loop import Group, Learner
from training.reward.objective import Numbers
from workers.scorers.base import ScorerSpec
from workers.scorers.clip import folder_view
from workers.scorers.registry import choose
from workers.scorers.towers import LoadedClip, load_clip
from workers.scorers.weights import assets_in

WEIGHTS = "open_clip_model.safetensors"
_CLIPS = ("workers.scorers.clip:clip_score", "workers.scorers.clip:preference")
_BLOCK = re.compile(r"(?:transformer\.resblocks|trunk\.blocks)\.(\d+)\.")
_BEFORE_BLOCKS = ("conv1", "class_embedding", "positional_embedding", "token_embedding", "ln_pre", "_embed")
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def clip_base(base: str, store: Any = None) -> ScorerSpec:
    """The spec of a CLIP by the name of its scorer, or of a folder in open_clip's local-dir layout.

    UsageError for a folder that is none and for a scorer that is no CLIP; else what `choose` raises.
    """
    folder = Path(base).expanduser()
    if "/" in base or folder.is_dir():
        if not (folder / "open_clip_config.json").is_file():
            raise UsageError(
                f"the base {base} is no CLIP: it has no open_clip_config.json",
                hint="give a folder in open_clip's local-dir layout, or a scorer's name",
            )
        return ScorerSpec(
            name="base", summary="", factory=_CLIPS[1], views=(folder_view(folder),), assets=assets_in(folder)
        )
    spec = choose(base, store=store)
    if spec.factory not in _CLIPS or len(spec.views) != 1:
        raise UsageError(
            f"the base {base} is no CLIP that compares an image with its prompt",
            hint="take for example clip-toy, clip-l14, clip-h14 or pickscore-v1, or kind: head",
        )
    return spec


@dataclass(frozen=True)
class Pixels:
    """What a CLIP is trained on: pictures as its view shows them, uint8 (M, side, side, 3) or float32 in [0, 1]; the
    row of each image among them, int64; token ids of distinct prompts, int64 (K, context)."""

    pictures: NDArray[Any]
    rows: Numbers
    ids: NDArray[np.int64]


def clip_learner(clip: LoadedClip, pixels: Pixels, config: RewardConfig, device: str) -> Learner:
    """The learner of a loaded CLIP: score = exp(logit_scale) · cos(image, prompt), float32 outside of the towers. What
    a batch has twice, as prompts mostly, goes through a tower once."""
    model = clip.model
    frozen = {"visual": config.freeze_vision, "text": config.freeze_text}
    groups = _groups(model, config, frozen)
    if config.checkpointing:
        model.set_grad_checkpointing(True)
    mean, std = (torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (clip.mean, clip.std))

    def autocast() -> AbstractContextManager[Any]:
        kind = _AUTOCAST.get(config.precision)
        return nullcontext() if kind is None else torch.autocast(torch.device(device).type, kind)

    def scores(images: Numbers, prompts: Numbers, mirrored: bool) -> Tensor:
        image, image_of = np.unique(images, return_inverse=True)
        prompt, prompt_of = np.unique(prompts, return_inverse=True)
        seen = (
            torch.from_numpy(np.ascontiguousarray(pixels.pictures[pixels.rows[image]])).to(device).permute(0, 3, 1, 2)
        )
        values = seen / 255 if seen.dtype == torch.uint8 else seen
        values = (values - mean) / std
        with autocast():
            shown = model.encode_image(values.flip(3) if mirrored else values)
            said = model.encode_text(torch.from_numpy(pixels.ids[prompt]).to(device))
        shown, said = (_unit(each.float()) for each in (shown, said))
        cosines = (shown[torch.from_numpy(image_of)] * said[torch.from_numpy(prompt_of)]).sum(1)
        return model.logit_scale.exp() * cosines

    return Learner(model, scores, groups, device)


def trainable_clip(spec: ScorerSpec, device: str) -> LoadedClip:
    """The model of a spec in float32 with memory of its own, so that training does not write into a mapped file."""
    clip = load_clip(spec, precision=torch.float32, device=device)
    for parameter in clip.model.parameters():
        parameter.data = parameter.data.clone()
    return clip


def save_clip(clip: LoadedClip, spec: ScorerSpec, folder: Path, *, half: bool) -> dict[str, Path]:
    """Write weights and whatever else the scorer needs into `folder`; returns the files by name. Weights are in
    open_clip's keys, float16 or float32."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in clip.model.state_dict().items()}
    kept = {name: value.half() if half and value.is_floating_point() else value for name, value in state.items()}
    save_file(kept, folder / WEIGHTS)
    files = {WEIGHTS: folder / WEIGHTS}
    for asset in spec.assets:
        name = asset.name.rpartition("/")[2]
        if not name.endswith((".safetensors", ".bin", ".pt", ".pth")):
            files[name] = Path(shutil.copyfile(spec.path(asset.name), folder / name))
    return files


def clip_options(spec: ScorerSpec) -> dict[str, Any]:
    """What a trained CLIP's record says beside its files: its view, and how the tower is put together where no config
    in the files says it."""
    tower = dict(spec.options)
    if "architecture" in tower:
        tower |= {"weights": WEIGHTS, "layout": "open_clip"}
    (view,) = spec.views
    return {"tower": tower, "view": view.content()}


def _groups(model: Any, config: RewardConfig, frozen: dict[str, int]) -> tuple[Group, ...]:
    """Parameters by rate and decay; those that stay as they are want no gradient and are in no group. A tower with
    frozen blocks keeps what comes before them, too: its embeddings."""
    sorted_in: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        tower = "visual" if name.startswith("visual.") else "text"
        scale = name in ("logit_scale", "logit_bias")
        parameter.requires_grad_(config.train_scale if scale else not _stays(name, frozen[tower]))
        if name == "logit_bias":
            parameter.requires_grad_(False)  # a pair's two scores share it
        if not parameter.requires_grad:
            continue
        rate = config.text_learning_rate if tower == "text" and config.text_learning_rate else config.rate
        decay = config.weight_decay if parameter.ndim >= 2 else 0.0
        sorted_in.setdefault((rate, decay), []).append(parameter)
    if not sorted_in:
        raise UsageError("every layer is frozen", hint="lower freeze_vision or freeze_text, or use kind: head")
    return tuple(Group(parameters, rate, decay) for (rate, decay), parameters in sorted_in.items())


def _stays(name: str, blocks: int) -> bool:
    if blocks == 0:
        return False
    found = _BLOCK.search(name)
    if blocks < 0:
        return True
    if found:
        return int(found[1]) < blocks
    return any(part in name for part in _BEFORE_BLOCKS)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)
