"""CLIP towers through open_clip, and the scorers that read their embeddings.

Normalisation, dot products and heads are float32 whatever the tower's precision, because a half-precision cosine is
too coarse to tell two images of one prompt apart.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file

from workers.scorers.base import Batch, Embed, Embeddings, Floats, ScoreBatch, ScorerSpec, View
from workers.scorers.runtime import InParts, Runtime
from workers.scorers.views import crop

_PROMPTS_KEPT = 20_000


def folder_view(folder: Path) -> View:
    """What a model in open_clip's `local-dir:` layout sees, by its own preprocessing config."""
    config = json.loads((folder / "open_clip_config.json").read_text())["preprocess_cfg"]
    return crop(int(config["size"]))


class ClipTower:
    """One open_clip model with its tokenizer. Prompts it has seen lately are not encoded again."""

    def __init__(self, folder: Path, runtime: Runtime, precision: str) -> None:
        with _quiet_root_logger():
            model = open_clip.create_model(f"local-dir:{folder}", precision="fp32", device=runtime.device)
            self._tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        self._model: Any = model.eval().to(getattr(torch, precision))
        self.scale = float(model.logit_scale.detach().float().exp())
        self._dtype = getattr(torch, precision)
        mean, std = model.visual.preprocess_cfg["mean"], model.visual.preprocess_cfg["std"]
        self._mean = 255 * torch.tensor(mean, device=runtime.device).view(1, 3, 1, 1)
        self._std = 255 * torch.tensor(std, device=runtime.device).view(1, 3, 1, 1)
        self._image = InParts(self._encode_image, runtime)
        self._text = InParts(self._encode_text, runtime)
        self._prompts: OrderedDict[str, torch.Tensor] = OrderedDict()

    def images(self, crops: Sequence[Any]) -> torch.Tensor:
        """Normalised float32 embeddings (n, d) of uint8 crops (height, width, 3)."""
        return self._image(crops)

    def prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        """Normalised float32 embeddings (n, d) of prompts."""
        new = [prompt for prompt in prompts if prompt not in self._prompts]
        if new:
            self._prompts.update(zip(new, self._text(self._tokenizer(new).numpy()), strict=True))
        rows = torch.stack([self._prompts[prompt] for prompt in prompts])
        for prompt in prompts:
            self._prompts.move_to_end(prompt)
        while len(self._prompts) > _PROMPTS_KEPT:
            self._prompts.popitem(last=False)
        return rows

    def _encode_image(self, crops: torch.Tensor) -> torch.Tensor:
        pixels = (crops.permute(0, 3, 1, 2).float() - self._mean) / self._std
        return _unit(self._model.encode_image(pixels.to(self._dtype)))

    def _encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        return _unit(self._model.encode_text(ids))


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """open_clip tells its steps to the root logger, which then gets a handler of its own and says all twice."""
    root, before, silence = logging.getLogger(), logging.root.manager.disable, logging.NullHandler()
    root.addHandler(silence)
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)
        root.removeHandler(silence)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    vectors = vectors.float()
    return vectors / vectors.norm(dim=-1, keepdim=True)


@lru_cache(maxsize=4)
def _tower(folder: Path, runtime: Runtime, precision: str) -> ClipTower:
    return ClipTower(folder, runtime, precision)


def _towers(spec: ScorerSpec, runtime: Runtime, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, float]:
    tower, images = _images(spec, runtime, batch)
    texts = batch.share(("clip prompts", id(tower)), lambda: tower.prompts(batch.prompts))
    return images, texts, tower.scale


def _images(spec: ScorerSpec, runtime: Runtime, batch: Batch) -> tuple[ClipTower, torch.Tensor]:
    tower = _tower(spec.path("open_clip_config.json").parent, runtime, spec.precision)
    return tower, batch.share(("clip images", id(tower)), lambda: tower.images(batch.view(spec.views[0])))


def _cosines(batch: Batch, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    return (images[torch.from_numpy(batch.image_of)] * texts[torch.from_numpy(batch.prompt_of)]).sum(1)


def clip_score(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    """cos(image, text), in [-1, 1]: the CLIP score (Hessel et al. 2021) without its factor and its clipping."""

    def score(batch: Batch) -> Floats:
        images, texts, _ = _towers(spec, runtime, batch)
        return _floats(_cosines(batch, images, texts))

    return score


def preference(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    """exp(logit_scale) · cos(image, text): PickScore (Kirstain et al. 2023), a CLIP fine-tuned on human pairs.

    The difference of two images' scores is the logit of the model preferring the first.
    """

    def score(batch: Batch) -> Floats:
        images, texts, scale = _towers(spec, runtime, batch)
        return _floats(scale * _cosines(batch, images, texts))

    return score


def aesthetic(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    """w · embedding + b on the normalised image embedding, about 1 (poor) to 10; the prompt is not read.

    The head is one affine map, as LAION's aesthetic predictor v1 is, and v2 too once its layers are multiplied out.
    """
    head = load_file(spec.path("aesthetic_head.safetensors"))

    def score(batch: Batch) -> Floats:
        _, images = _images(spec, runtime, batch)
        return _floats((images @ head["weight"].float()[0] + head["bias"].float()[0])[torch.from_numpy(batch.image_of)])

    return score


def embeddings(spec: ScorerSpec, runtime: Runtime) -> Embed:
    """The tower's own embeddings of images and prompts."""

    def embed(batch: Batch) -> Embeddings:
        images, texts, _ = _towers(spec, runtime, batch)
        return Embeddings(_floats(images), _floats(texts))

    return embed


def _floats(scores: torch.Tensor) -> Floats:
    return scores.detach().cpu().numpy().astype(np.float32)
