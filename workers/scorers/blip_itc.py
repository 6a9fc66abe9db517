"""The BLIP score: cosine of BLIP's contrastive embeddings of image and prompt (Li et al. 2022), as ImageReward's
authors define it and compare with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import normalize

from workers.scorers.base import Batch, Floats, ScoreBatch, ScorerSpec
from workers.scorers.blip import BlipShape, WordPieces, by_length, load_text, load_vision, look, padded, read
from workers.scorers.lean import empty, fill, parted
from workers.scorers.pixels import clip_pixels
from workers.scorers.prompts import PromptCache
from workers.scorers.runtime import InParts, Runtime
from workers.scorers.states import load_state

_PROJECTION = 256

_DROPPED = (
    r"(visual_encoder|text_encoder|vision_proj|text_proj)_m\..+",
    r"(image_queue|text_queue|queue_ptr|temp)",
    r"itm_head\.(weight|bias)",
    r"text_decoder\..+",
    r"text_encoder\.encoder\.layer\.\d+\.crossattention\..+",
)
"""What pre-training keeps beside: momentum copies, queues of negatives and the temperature, the matching head, the
captioner, and the cross-attentions that a prompt read without an image does not pass."""


class BlipSimilarity:
    """The loaded model: cosines of a batch, float32."""

    def __init__(self, spec: ScorerSpec, runtime: Runtime) -> None:
        shape = BlipShape.of(spec)
        prefixes = ("visual_encoder.", "text_encoder.", "vision_proj.", "text_proj.")
        state = load_state(spec.path("model_large.pth"), under="model")
        seen, read, image_head, prompt_head = parted(state, prefixes, dropped=_DROPPED, what="of BLIP")
        self._image_head = _projection(shape.vision_width, image_head, "vision", runtime.device)
        self._prompt_head = _projection(shape.text_width, prompt_head, "text", runtime.device)
        self._view = spec.views[0]
        self._pieces = WordPieces(spec.path("vocab.txt"), size=shape.vocabulary)
        self._vision = load_vision(shape, seen, spec.precision, runtime.device)
        self._text = load_text(shape, read, spec.precision, runtime.device, looks=False)
        self._dtype = getattr(torch, spec.precision)
        self._images = InParts(self._image, runtime)
        self._reads = InParts(self._prompt, runtime)
        self._prompts = PromptCache(self._embedded)

    def __call__(self, batch: Batch) -> Floats:
        images, prompts = self._images(batch.view(self._view)), self._prompts(batch.prompts)
        cosines: Floats = (
            (images[torch.from_numpy(batch.image_of)] * prompts[torch.from_numpy(batch.prompt_of)]).sum(1).numpy()
        )
        return cosines

    def _image(self, crops: torch.Tensor) -> torch.Tensor:
        first = look(self._vision, clip_pixels(crops).to(self._dtype))[:, 0]
        return normalize(self._image_head(first.float()))

    def _embedded(self, prompts: Sequence[str]) -> torch.Tensor:
        pieces = self._pieces(prompts)
        rows = torch.empty(len(pieces), _PROJECTION)
        for places in by_length(np.array([len(each) for each in pieces]), self._reads.part):
            rows[torch.from_numpy(places)] = self._reads(padded([pieces[place] for place in places]))
        return rows

    def _prompt(self, rows: torch.Tensor) -> torch.Tensor:
        first = read(self._text, rows[:, 1:], rows[:, 0])[:, 0]
        return normalize(self._prompt_head(first.float()))


def _projection(width: int, state: dict[str, torch.Tensor], tower: str, device: str) -> torch.nn.Linear:
    model = empty(lambda: torch.nn.Linear(width, _PROJECTION), "float32")
    return fill(model, state, what=f"of BLIP's {tower} projection", device=device)


def blip_similarity(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    """cos(image, prompt) of the contrastive embeddings, in [-1, 1], without BLIP's temperature; float32."""
    return BlipSimilarity(spec, runtime)
