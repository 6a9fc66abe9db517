"""ImageReward v1.0 (Xu et al. 2023): a BLIP whose text tower reads the prompt before the image, and an affine head."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from workers.scorers.base import Batch, Floats, ScoreBatch, ScorerSpec
from workers.scorers.blip import BlipShape, WordPieces, by_length, load_text, load_vision, look, padded, read
from workers.scorers.heads import Affine, affine_head
from workers.scorers.lean import parted
from workers.scorers.pixels import clip_pixels
from workers.scorers.runtime import InParts, Runtime
from workers.scorers.states import load_state

_MEAN, _STD = 0.16717362830052426, 1.0333394966054072
"""Of the head's values on the authors' test set; their code subtracts and divides by them."""

_DROPPED = (r"blip\.(vision|text)_proj\.(weight|bias)",)
"""The contrastive loss's projections, which the reward does not use."""


class ImageReward:
    """The loaded model: rewards of a batch, float32, about N(0, 1) over the authors' test set."""

    def __init__(self, spec: ScorerSpec, runtime: Runtime) -> None:
        shape = BlipShape.of(spec)
        prefixes = ("blip.visual_encoder.", "blip.text_encoder.", "mlp.")
        seen, read, head = parted(
            load_state(spec.path("ImageReward.pt")), prefixes, dropped=_DROPPED, what="of ImageReward"
        )
        self._view = spec.views[0]
        self._pieces = WordPieces(spec.path("vocab.txt"), size=shape.vocabulary)
        self._vision = load_vision(shape, seen, spec.precision, runtime.device)
        self._text = load_text(shape, read, spec.precision, runtime.device, looks=True)
        self._head = reward_head(head)
        self._dtype = getattr(torch, spec.precision)
        self._look = InParts(self._seen, runtime, keep=True)
        self._read = InParts(self._first_state, runtime)

    def __call__(self, batch: Batch) -> Floats:
        """Each distinct image goes through the ViT once; items go through the BERT in the order of their prompts'
        lengths, because the BERT looks at the image from its first layer on."""
        seen = self._look(batch.view(self._view))
        pieces = self._pieces(batch.prompts)
        lengths = np.array([len(each) for each in pieces])[batch.prompt_of]
        states = torch.empty(len(batch), len(self._head.weight))
        for places in by_length(lengths, self._read.part):
            rows = zip(
                batch.image_of[places], padded([pieces[place] for place in batch.prompt_of[places]]), strict=True
            )
            states[torch.from_numpy(places)] = self._read([np.append(image, prompt) for image, prompt in rows], seen)
        rewards: Floats = self._head(states).numpy()
        return rewards

    def _seen(self, crops: torch.Tensor) -> torch.Tensor:
        return look(self._vision, clip_pixels(crops).to(self._dtype))

    def _first_state(self, rows: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        return read(self._text, rows[:, 2:], rows[:, 1], seen[rows[:, 0]])[:, 0]


def reward_head(state: Mapping[str, torch.Tensor]) -> Affine:
    """The head's five layers, which have nothing but dropout between them, with the authors' mean and deviation."""
    head = affine_head(dict(state))
    return Affine(head.weight / _STD, (head.bias - _MEAN) / _STD)


def image_reward(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    """Rewards of image and prompt, float32: the authors' `score`, of which prompts see at most 33 word pieces."""
    return ImageReward(spec, runtime)
