"""The scorers that read the embeddings of a CLIP: cosine, PickScore's logit, and heads on the image alone. Products and
heads are float32 whatever the tower's precision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from workers.scorers import views
from workers.scorers.base import Batch, Embed, Embeddings, Floats, ScoreBatch, ScorerSpec, View
from workers.scorers.heads import affine_head
from workers.scorers.runtime import Runtime
from workers.scorers.states import load_state
from workers.scorers.towers import HEAD, ClipTower, clip_tower
from workers.scorers.weights import WeightsError


def folder_view(folder: Path) -> View:
    """What a model in open_clip's `local-dir:` layout sees, by its own preprocessing config. WeightsError for a config
    that asks for what no view of ours gives."""
    config = json.loads((folder / "open_clip_config.json").read_text())["preprocess_cfg"]
    size, mode = config["size"], config.get("resize_mode", "shortest")
    sides = set(size) if isinstance(size, list) else {size}
    resample = config.get("interpolation", "bicubic")
    made = {"shortest": views.crop, "squash": views.squash}.get(mode)
    if made is None or resample not in views.RESAMPLE or len(sides) != 1 or config.get("mode", "RGB") != "RGB":
        raise WeightsError(
            f"{folder} asks for pictures of {size} by {mode}, {resample}, {config.get('mode', 'RGB')}",
            code="weights-unsupported",
            hint="square RGB by shortest or squash, bicubic or bilinear, is what there is",
        )
    return made(int(sides.pop()), resample)


def clip_score(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    """cos(image, text), in [-1, 1]: the CLIP score (Hessel et al. 2021) without its factor and its clipping; HPSv2
    (Wu et al. 2023) is the same of its own model and view."""
    tower = clip_tower(spec, runtime)

    def score(batch: Batch) -> Floats:
        return _floats(_cosines(batch, _images(tower, spec, batch), _prompts(tower, batch)))

    return score


def preference(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    """exp(logit_scale) · cos(image, text): PickScore (Kirstain et al. 2023), a CLIP fine-tuned on human pairs.

    The difference of two images' scores is the logit of the model preferring the first.
    """
    tower = clip_tower(spec, runtime)

    def score(batch: Batch) -> Floats:
        return _floats(tower.scale * _cosines(batch, _images(tower, spec, batch), _prompts(tower, batch)))

    return score


def aesthetic(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    """w · embedding + b on the normalised image embedding, about 1 (poor) to 10; the prompt is not read.

    The head is one affine map, as LAION's aesthetic predictor v1 is, and v2 too once its layers are multiplied out.
    """
    tower = clip_tower(spec, runtime)
    head = affine_head(load_state(spec.path(dict(spec.options).get("head", HEAD))))

    def score(batch: Batch) -> Floats:
        return _floats(head(_images(tower, spec, batch))[torch.from_numpy(batch.image_of)])

    return score


def embeddings(spec: ScorerSpec, runtime: Runtime) -> Embed:
    """The tower's own embeddings of images and prompts."""
    tower = clip_tower(spec, runtime)

    def embed(batch: Batch) -> Embeddings:
        return Embeddings(_floats(_images(tower, spec, batch)), _floats(_prompts(tower, batch)))

    return embed


def _images(tower: ClipTower, spec: ScorerSpec, batch: Batch) -> torch.Tensor:
    (view,) = spec.views
    return batch.share((tower, view), lambda: tower.images(batch.view(view)))


def _prompts(tower: ClipTower, batch: Batch) -> torch.Tensor:
    return batch.share((tower, "prompts"), lambda: tower.prompts(batch.prompts))


def _cosines(batch: Batch, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    return (images[torch.from_numpy(batch.image_of)] * texts[torch.from_numpy(batch.prompt_of)]).sum(1)


def _floats(scores: torch.Tensor) -> Floats:
    return scores.detach().cpu().numpy().astype(np.float32)
