"""HPSv3 (Ma et al. 2025): Qwen2-VL-7B under a small head that is read at one added token of a fixed request.

The request's wording is read from the authors' wheel (`wording`), the pixels come from the view `views.tiled`.
Everything after the `<|Reward|>` token is left out: attention is causal, so nothing of it reaches the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLTextConfig, Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VisionTransformerPretrainedModel,
    Qwen2VLRotaryEmbedding,
    Qwen2VLTextModel,
    Qwen2VLVisionRotaryEmbedding,
)

from workers.scorers.base import Batch, Floats, ScoreBatch, ScorerSpec
from workers.scorers.joint import Joint
from workers.scorers.lean import empty, fill, named_state
from workers.scorers.pixels import clip_pixels
from workers.scorers.runtime import Runtime
from workers.scorers.wording import constants

REWARD, PICTURE = "<|Reward|>", "<|image_pad|>"
PATCH, MERGE, FRAMES = 14, 2, 2
MU = 0
_MEMBER = "hpsv3/dataset/data_collator_qwen.py"
_ITEMS_AT_ONCE = 16
"""About 13,000 tokens: enough to fill an accelerator, and 2 GB of activations in half precision."""


def hpsv3(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    """μ of HPSv3's [μ, σ], a preference without bounds; published means of models lie between −0.24 and 10.55.

    Options: `text` and `vision` (sizes, as transformers' configurations name them), `mrope_section`, `tokens` (rows of
    the embedding: the tokenizer's and `<|Reward|>`), `head` (the widths between hidden size and [μ, σ]), `chat` (what
    precedes the picture). Scores are float32, the head is computed in float32 whatever the tower's precision.
    """
    requests = Requests(spec.path("/tokenizer.json"), spec.path(".whl"), chat=spec.option("chat"))
    file = spec.path("/HPSv3.safetensors")
    state = named_state({file.name: file}, published_name)
    model = fill(built(spec), state, what=file.name, device=runtime.device)

    def judge(pictures: Sequence[torch.Tensor], prompts: Sequence[str]) -> torch.Tensor:
        ids = [requests.whole(len(seen), requests.text(prompt)) for seen, prompt in zip(pictures, prompts, strict=True)]
        return model.rm_head(model.hidden(pictures, ids, len(requests.head)).float())[:, MU]

    joint = Joint(model.see, judge, runtime, at_once=_ITEMS_AT_ONCE)

    def score(batch: Batch) -> Floats:
        return joint(batch, batch.view(spec.views[0]))

    return score


class RewardModel(nn.Module):
    """The layers of HPSv3 under transformers 5's names, without the language model's output layer."""

    def __init__(self, text: Qwen2VLTextConfig, vision: Qwen2VLVisionConfig, head: Sequence[int]) -> None:
        super().__init__()
        self.visual = Qwen2VisionTransformerPretrainedModel(vision)
        self.language_model = Qwen2VLTextModel(text)
        first, second = head
        self.rm_head = nn.Sequential(
            nn.Linear(text.hidden_size, first),
            nn.ReLU(),
            nn.Dropout(0.05),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, 2),
        )

    def hidden(self, pictures: Sequence[torch.Tensor], ids: Sequence[Sequence[int]], start: int) -> torch.Tensor:
        """Last hidden states (n, hidden) at the last token of each request, whose picture's tokens begin at `start`.
        `pictures` holds what `see` gave for each."""
        table = self.language_model.get_input_embeddings()
        longest = max(len(row) for row in ids)
        padded = torch.zeros(len(ids), longest, dtype=torch.long)
        for place, row in enumerate(ids):
            padded[place, : len(row)] = torch.tensor(row)
        inputs = table(padded.to(table.weight.device))
        for place, picture in enumerate(pictures):
            inputs[place, start : start + len(picture)] = picture.to(inputs.dtype)
        # The authors' forward gives its language model no positions, so that of Qwen2-VL's three axes each counts
        # tokens, in the picture too; that is how it was trained. Padding lies to the right, behind what is read.
        positions = torch.arange(longest, device=inputs.device).expand(3, len(ids), longest)
        states = self.language_model(inputs_embeds=inputs, position_ids=positions, use_cache=False).last_hidden_state
        last = torch.tensor([len(row) - 1 for row in ids], device=inputs.device)
        return states[torch.arange(len(ids), device=inputs.device), last]

    def see(self, pictures: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The tokens (n / 4, hidden) of each of several pictures, given as `patches` (n, 1176) with their grid."""
        device = self.visual.get_device()
        grid = torch.tensor([[1, picture.shape[0] // PATCH, picture.shape[1] // PATCH] for picture in pictures])
        pixels = torch.cat([patches(picture) for picture in pictures])
        seen = self.visual(pixels.to(self.visual.get_dtype()), grid_thw=grid.to(device)).pooler_output
        return list(seen.split((grid.prod(1) // MERGE**2).tolist()))


def patches(picture: torch.Tensor) -> torch.Tensor:
    """float32 patches (n, 1176) of a uint8 picture (height, width, 3), sides multiples of 28: normalised, in the order
    in which Qwen2-VL merges four neighbours into one token, each as two equal frames."""
    height, width, _ = picture.shape
    pixels = clip_pixels(picture[None])[0]
    side = MERGE * PATCH
    tiles = pixels.reshape(3, height // side, MERGE, PATCH, width // side, MERGE, PATCH).permute(1, 4, 2, 5, 0, 3, 6)
    return tiles[:, :, :, :, :, None].expand(-1, -1, -1, -1, -1, FRAMES, -1, -1).reshape(-1, 3 * FRAMES * PATCH**2)


class VisionRotation(Qwen2VLVisionRotaryEmbedding):
    """Rotation by row and column with angles, cosines and sines in the dtype of the frequencies."""

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines (n, head width) of positions (n, 2)."""
        del x
        angles = position_ids[..., None].to(self.inv_freq.dtype) * self.inv_freq
        return self.recomposition_frequencies(angles.cos()), self.recomposition_frequencies(angles.sin())


class Requests:
    """The authors' chat about a picture and its prompt, as token ids up to and including `<|Reward|>`.

    `<|Reward|>` and `<|image_pad|>` in a prompt are plain text, where the authors' code reads at the first and looks
    for a second picture at the other; other tokens of Qwen2-VL's in a prompt are tokens, as they are there.
    """

    def __init__(self, tokenizer: Path, wheel: Path, *, chat: str) -> None:
        words = constants(wheel, _MEMBER, ("INSTRUCTION", "prompt_with_special_token"))
        self._instruction = words["INSTRUCTION"]
        self._request = words["prompt_with_special_token"].partition(REWARD)[0]
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._reward = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.head = self._ids(chat)
        self._image = self._tokenizer.token_to_id(PICTURE)
        self._after = self._tokenizer.token_to_id("<|vision_end|>")

    def text(self, prompt: str) -> list[int]:
        """The ids of what follows the picture."""
        asked = self._instruction.format(text_prompt=prompt) + self._request
        self._tokenizer.encode_special_tokens = PICTURE in prompt
        return [self._after, *self._ids(asked), self._reward]

    def whole(self, tokens: int, text: Sequence[int]) -> list[int]:
        """The ids of a request whose picture takes so many tokens; they begin at `len(self.head)`."""
        return [*self.head, *[self._image] * tokens, *text]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def published_name(name: str) -> str | None:
    """Our name of a tensor of HPSv3.safetensors, which transformers 4.45 named; None for the output layer over words,
    which the reward does not read."""
    if name == "lm_head.weight":
        return None
    return "language_model." + name.removeprefix("model.") if name.startswith("model.") else name


def built(spec: ScorerSpec) -> RewardModel:
    """The model of a spec on the meta device, in its precision, the head in float32.

    The frequencies of both rotations, which no file holds, are bfloat16 in every precision: the authors' code moves
    the whole model to it, in training too, and a frequency that is off by 0.1 % turns token 800 by most of a radian.
    """
    sizes = dict(spec.option("text"))
    section = list(spec.option("mrope_section"))
    rope = {"rope_type": "default", "rope_theta": sizes.pop("rope_theta"), "mrope_section": section}
    tokens = spec.option("tokens")
    text = Qwen2VLTextConfig(**sizes, vocab_size=tokens, rope_parameters=rope, bos_token_id=None, eos_token_id=None)
    vision = Qwen2VLVisionConfig(**dict(spec.option("vision")), hidden_size=text.hidden_size)
    model = empty(lambda: RewardModel(text, vision, spec.option("head")), spec.precision)
    model.rm_head.float()
    model.language_model.rotary_emb = Qwen2VLRotaryEmbedding(config=text).to(torch.bfloat16)
    model.visual.rotary_pos_emb = VisionRotation(vision).to(torch.bfloat16)
    return model
