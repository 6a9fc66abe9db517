"""MPS, the multi-dimensional preference score (Zhang et al. 2024), its "overall" one: a CLIP whose image tokens look at
those words of the prompt that a fixed list of qualities has to do with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import linear, normalize, scaled_dot_product_attention, silu
from torch.nn.utils.rnn import pad_sequence
from transformers import CLIPConfig, CLIPModel

from workers.scorers.base import Batch, Floats, ScoreBatch, ScorerSpec
from workers.scorers.lean import empty, fill, parted
from workers.scorers.pixels import clip_pixels
from workers.scorers.prompts import PromptCache
from workers.scorers.runtime import InParts, Runtime
from workers.scorers.states import load_state
from workers.scorers.tokens import hf_clip_tokens
from workers.scorers.weights import WeightsError

_DROPPED = (r"(text|vision)_model\.embeddings\.position_ids",)
"""Buffers of older transformers: 0, 1, 2, …"""

_LOOK = {"to_q": "query", "to_kv": "key_value", "to_out": "out", "ff.0": "widen", "ff.2": "narrow"}
_MIX = {"attn_out": "out", "ff_out.1": "narrow"}
_KEY = re.compile(r"(\d+)\.([01])\.fn\.(.+)\.(weight|bias|inv_freq)")


class Block(torch.nn.Module):
    """Multi-query attention (all heads share one key and one value) and a gated feed-forward beside each other, both
    added to the residual: over a context, or over the states themselves with rotary positions."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self._head_width = head_width
        self.norm = torch.nn.LayerNorm(width)
        self.query = torch.nn.Linear(width, heads * head_width, bias=False)
        self.key_value = torch.nn.Linear(width, 2 * head_width, bias=False)
        self.out = torch.nn.Linear(heads * head_width, width, bias=False)
        self.widen = torch.nn.Linear(width, 8 * width, bias=False)
        self.narrow = torch.nn.Linear(4 * width, width, bias=False)

    def over(self, states: torch.Tensor, context: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """States (n, t, width) after they looked at a context (n, m, width), where `allowed` (n, m)."""
        normed = self.norm(states)
        queries = self.query(normed).unflatten(-1, (-1, self._head_width))
        return self._added(states, normed, queries, self.key_value(context), allowed[:, None, None])

    def among(self, states: torch.Tensor, angles: torch.Tensor, *, first: bool) -> torch.Tensor:
        """States (n, t, width) after they looked at each other; `angles` (t, head width) turn queries and keys. With
        `first` only the first of them, (n, 1, width)."""
        normed = self.norm(states)
        keys, values = self.key_value(normed).chunk(2, dim=-1)
        read = torch.cat([_turned(keys, angles), values], dim=-1)
        if first:
            states, normed, angles = states[:, :1], normed[:, :1], angles[:1]
        queries = _turned(self.query(normed).unflatten(-1, (-1, self._head_width)), angles[:, None])
        return self._added(states, normed, queries, read, None)

    def _added(
        self,
        states: torch.Tensor,
        normed: torch.Tensor,
        queries: torch.Tensor,
        read: torch.Tensor,
        allowed: torch.Tensor | None,
    ) -> torch.Tensor:
        # As keys and values are shared, heads are but more queries.
        keys, values = read[:, None].chunk(2, dim=-1)
        attended = scaled_dot_product_attention(queries.flatten(1, 2)[:, None], keys, values, attn_mask=allowed)
        wide, gate = self.widen(normed).chunk(2, dim=-1)
        return states + self.out(attended[:, 0].reshape(*normed.shape[:2], -1)) + self.narrow(silu(gate) * wide)


class Cross(torch.nn.Module):
    """Layers of two blocks: image tokens look at the prompt's, then at each other."""

    def __init__(self, width: int, layers: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.look = torch.nn.ModuleList(Block(width, heads, head_width) for _ in range(layers))
        self.mix = torch.nn.ModuleList(Block(width, heads, head_width) for _ in range(layers))

    def forward(
        self, states: torch.Tensor, context: torch.Tensor, allowed: torch.Tensor, angles: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """The first token (n, width) of images (n, t, width) after all layers; `angles` as of `Block.among`, each
        layer's own."""
        for layer, (look, mix) in enumerate(zip(self.look, self.mix, strict=True), start=1):
            states = look.over(states, context, allowed)
            states = mix.among(states, angles[layer - 1], first=layer == len(self.mix))
        return states[:, 0]


class Mps:
    """The loaded model: scores of a batch, float32."""

    def __init__(self, spec: ScorerSpec, runtime: Runtime) -> None:
        option, device = dict(spec.options), runtime.device
        state, cross = parted(
            _unwrapped(load_state(spec.path("model.safetensors"))),
            ("model.", "cross_model.layers."),
            dropped=[rf"model\.{pattern}" for pattern in _DROPPED],
            what="of MPS",
        )
        self._view = spec.views[0]
        self._dtype = getattr(torch, spec.precision)
        self._threshold = option["threshold"]
        self._scale = float(state["logit_scale"].float().exp())
        self._words = state["text_projection.weight"].to(device, torch.float32)
        self._clip = fill(clip_towers(option, spec.precision), state, what="of MPS's CLIP", device=device)
        cross, frequencies = cross_state(cross, option["cross_heads"] * option["cross_head_width"])
        shape = (option["projection"], option["cross_layers"], option["cross_heads"], option["cross_head_width"])
        self._cross = fill(
            empty(lambda: Cross(*shape), spec.precision), cross, what="of MPS's cross model", device=device
        )
        if [2 * len(each) for each in frequencies] != [option["cross_head_width"]] * option["cross_layers"]:
            raise WeightsError(
                f"the weights of MPS's cross model hold rotary frequencies for {len(frequencies)} layers, not "
                f"{option['cross_layers']} times {option['cross_head_width'] // 2}",
                code="weights-other-layout",
                hint="fetch them again with `pairsieve scorers pull`",
            )
        self._angles = [angles(each.to(device), _tokens(option)) for each in frequencies]
        self._ids = hf_clip_tokens(spec.path("vocab.json"), spec.path("merges.txt"), option["context"])
        self._look = InParts(self._image_tokens, runtime, keep=True)
        self._read = InParts(self._prompt_tokens, runtime, keep=True)
        self._join = InParts(self._cosine, runtime)
        self._condition = self._read(self._ids([option["condition"]]))[0, 1:]
        self._prompts = PromptCache(self._heard)

    def __call__(self, batch: Batch) -> Floats:
        """Each distinct image and each distinct prompt goes through its tower once; the cross model takes items."""
        images = self._look(batch.view(self._view))
        rows = self._prompts.rows(batch.prompts)
        items = np.stack(
            [batch.image_of, batch.prompt_of, np.array([len(row) - 1 for row in rows])[batch.prompt_of]], 1
        )
        scores: Floats = self._scale * self._join(list(items), images, pad_sequence(rows, batch_first=True)).numpy()
        return scores

    def _image_tokens(self, crops: torch.Tensor) -> torch.Tensor:
        """(n, 1 + patches, projection): projected as they leave the last layer, without the tower's last norm."""
        seen = self._clip.vision_model(pixel_values=clip_pixels(crops).to(self._dtype)).last_hidden_state
        projected: torch.Tensor = self._clip.visual_projection(seen)
        return projected

    def _prompt_tokens(self, ids: torch.Tensor) -> torch.Tensor:
        """float32 (n, 1 + context, projection): the embedding of the prompt, which is that of its first end token, and
        then those of all its tokens, padding too."""
        states = self._clip.text_model(input_ids=ids).last_hidden_state
        ends = states[torch.arange(len(ids), device=ids.device), ids.argmax(dim=1)]
        return linear(torch.cat([ends[:, None], states], dim=1).float(), self._words)

    def _heard(self, prompts: Sequence[str]) -> list[torch.Tensor]:
        """Each prompt's embedding and those of its tokens that the condition lets through, (1 + tokens, projection)."""
        tokens = self._read(self._ids(prompts))
        heard = let_through(tokens[:, 1:], self._condition, self._threshold).cpu()
        return [
            torch.cat([row[:1], row[1:][places.nonzero()[:, 0].to(row.device)]])
            for row, places in zip(tokens, heard, strict=True)
        ]

    def _cosine(self, items: torch.Tensor, images: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        image, prompt, heard = items.unbind(1)
        allowed = torch.arange(prompts.shape[1] - 1, device=items.device) < heard[:, None]
        seen = self._cross(images[image], prompts[prompt, 1:].to(self._dtype), allowed, self._angles)
        return (normalize(seen.float()) * normalize(prompts[prompt, 0])).sum(1)


def let_through(tokens: torch.Tensor, condition: torch.Tensor, threshold: float) -> torch.Tensor:
    """Which tokens (n, t, d) of each prompt may be looked at, (n, t): those whose largest product with a token of the
    condition (m, d) is above `threshold` of the prompt's own largest.

    The authors' code takes the largest of all prompts of a batch; one image at a time, as their evaluation runs, that
    is the same.
    """
    closest = (tokens @ condition.T).amax(dim=2)
    return closest / closest.amax(dim=1, keepdim=True) > threshold


def cross_state(state: dict[str, torch.Tensor], inner: int) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """The cross model's tensors by our names, and each layer's rotary frequencies (head width / 2,) in float32.

    The authors keep a layer as a list of two and fuse query (`inner` rows), key, value and feed-forward of its second.
    A key of another form keeps its name.
    """
    ours: dict[str, torch.Tensor] = {}
    frequencies: dict[int, torch.Tensor] = {}
    for key, value in state.items():
        found = _KEY.fullmatch(key)
        layer, place, name, kind = found.groups() if found else ("", "0", "", "")
        block = f"{('look', 'mix')[int(place)]}.{layer}"
        if not found:
            ours[key] = value
        elif (name, kind) == ("rotary_emb", "inv_freq"):
            frequencies[int(layer)] = value.float()
        elif name == "fused_attn_ff_proj":
            query, rest = value[:inner], value[inner:]
            key_value, widen = rest[: -8 * value.shape[1]], rest[-8 * value.shape[1] :]
            parts = {"query": query, "key_value": key_value, "widen": widen}
            ours |= {f"{block}.{part}.{kind}": each for part, each in parts.items()}
        else:
            ours[f"{block}.{(_LOOK, _MIX)[int(place)].get(name, name)}.{kind}"] = value
    return ours, [frequencies[layer] for layer in sorted(frequencies)]


def angles(frequencies: torch.Tensor, tokens: int) -> torch.Tensor:
    """Rotary angles (tokens, 2 · frequencies), float32 (Su et al. 2021): each half the same."""
    turns = torch.arange(tokens, device=frequencies.device)[:, None] * frequencies
    return torch.cat([turns, turns], dim=1)


def _turned(vectors: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    one, other = vectors.chunk(2, dim=-1)
    return (vectors * by.cos() + torch.cat([-other, one], dim=-1) * by.sin()).to(vectors.dtype)


def _unwrapped(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The authors' keys, `model.…` and `cross_model.…`, of a checkpoint in which they may stand under a prefix."""
    prefix = next((key.removesuffix("model.logit_scale") for key in state if key.endswith("model.logit_scale")), "")
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _tokens(option: dict[str, Any]) -> int:
    return int(1 + (option["image_size"] // option["patch_size"]) ** 2)


def clip_towers(option: dict[str, Any], precision: str) -> CLIPModel:
    """The CLIP of a spec's options, without memory but for its tables of positions 0, 1, 2 …"""
    towers = {
        f"{tower}_config": {
            "hidden_size": option[f"{tower}_width"],
            "intermediate_size": option[f"{tower}_hidden"],
            "num_hidden_layers": option[f"{tower}_layers"],
            "num_attention_heads": option[f"{tower}_heads"],
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
        }
        for tower in ("vision", "text")
    }
    towers["vision_config"] |= {"image_size": option["image_size"], "patch_size": option["patch_size"]}
    towers["text_config"] |= {
        "vocab_size": option["vocabulary"],
        "max_position_embeddings": option["context"],
        "bos_token_id": option["vocabulary"] - 2,
        "eos_token_id": option["vocabulary"] - 1,
    }
    config = CLIPConfig(**towers, projection_dim=option["projection"])
    model = empty(lambda: CLIPModel(config), precision)
    for tower, length in ((model.vision_model, _tokens(option)), (model.text_model, option["context"])):
        tower.embeddings.position_ids = torch.arange(length)[None]
    return model


def mps(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    """exp(logit scale) · cos(prompt, first image token after the cross model), float32: the authors' evaluation."""
    return Mps(spec, runtime)
