"""CLIP towers through open_clip, and the scorers that read their embeddings.

Towers run in float32; normalisation, dot products and heads are float32 whatever the tower's precision, because a
half-precision cosine is too coarse to tell two images of one prompt apart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file

from workers.scorers.base import Batch, Floats, ScoreBatch, ScorerSpec

_BATCH = 128


@dataclass(frozen=True)
class Embeddings:
    """L2-normalised float32 embeddings of a batch, each (n, d), and the tower's logit scale exp(s)."""

    image: torch.Tensor
    text: torch.Tensor
    scale: float


class ClipTower:
    """One open_clip model with its own preprocessing and tokenizer, from a `local-dir:` folder."""

    def __init__(self, folder: Path, device: str) -> None:
        with _quiet_root_logger():
            model, _, preprocess = open_clip.create_model_and_transforms(
                f"local-dir:{folder}", precision="fp32", device=device
            )
            self._tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        self._model: Any = model.eval()
        self._preprocess = preprocess
        self._device = device

    @torch.no_grad()
    def embed(self, batch: Batch) -> Embeddings:
        """Embed every image once and every distinct prompt once."""
        images = torch.cat(
            [
                self._image_part([self._preprocess(image) for image in batch.images[i : i + _BATCH]])
                for i in range(0, len(batch.images), _BATCH)
            ]
        )
        distinct = sorted(set(batch.prompts))
        ids = self._tokenizer(distinct)
        texts = torch.cat(
            [
                _unit(self._model.encode_text(ids[i : i + _BATCH].to(self._device)))
                for i in range(0, len(distinct), _BATCH)
            ]
        )
        place = {prompt: row for row, prompt in enumerate(distinct)}
        rows = torch.tensor([place[prompt] for prompt in batch.prompts])
        return Embeddings(image=images, text=texts[rows], scale=float(self._model.logit_scale.exp()))

    def _image_part(self, pixels: list[torch.Tensor]) -> torch.Tensor:
        return _unit(self._model.encode_image(torch.stack(pixels).to(self._device)))


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
    vectors = vectors.float().cpu()
    return vectors / vectors.norm(dim=-1, keepdim=True)


@lru_cache(maxsize=4)
def _tower(folder: Path, device: str) -> ClipTower:
    return ClipTower(folder, device)


def _embeddings(spec: ScorerSpec, device: str, batch: Batch) -> Embeddings:
    assert spec.tower is not None
    tower = _tower(spec.tower, device)
    return batch.share(f"clip:{spec.tower}", lambda: tower.embed(batch))


def clip_score(spec: ScorerSpec, device: str) -> ScoreBatch:
    """cos(image, text), in [-1, 1]: the CLIP score (Hessel et al. 2021) without its factor and its clipping."""

    def score(batch: Batch) -> Floats:
        embedded = _embeddings(spec, device, batch)
        return _floats((embedded.image * embedded.text).sum(1))

    return score


def preference(spec: ScorerSpec, device: str) -> ScoreBatch:
    """exp(logit_scale) · cos(image, text): PickScore (Kirstain et al. 2023), a CLIP fine-tuned on human pairs.

    The difference of two images' scores is the logit of the model preferring the first.
    """

    def score(batch: Batch) -> Floats:
        embedded = _embeddings(spec, device, batch)
        return _floats(embedded.scale * (embedded.image * embedded.text).sum(1))

    return score


def aesthetic(spec: ScorerSpec, device: str) -> ScoreBatch:
    """w · embedding + b on the normalised image embedding, about 1 (poor) to 10; the prompt is not read.

    The head is one affine map, as LAION's aesthetic predictor v1 is, and v2 too once its layers are multiplied out.
    """
    assert spec.head is not None
    head = load_file(spec.head)

    def score(batch: Batch) -> Floats:
        embedded = _embeddings(spec, device, batch)
        return _floats(embedded.image @ head["weight"].float()[0] + head["bias"].float()[0])

    return score


def _floats(scores: torch.Tensor) -> Floats:
    return scores.detach().cpu().numpy().astype(np.float32)
