"""BLIP's towers: a ViT for images and a BERT that may look at an image from its first layer on.

Parameters are those of transformers' BLIP classes; the passes over them are ours, because transformers computes these
attentions unfused and repeats an image's keys and values for each of its prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.functional import scaled_dot_product_attention
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from workers.scorers.base import ScorerSpec
from workers.scorers.lean import empty, fill
from workers.scorers.weights import WeightsError

CONTEXT = 35
"""Word pieces a prompt may have, with [CLS] and [SEP]; ImageReward and its BLIP score cut what is longer."""


@dataclass(frozen=True)
class BlipShape:
    """The dimensions that a checkpoint does not tell (heads), with those that it does. The ViT's MLP is four times as
    wide as the ViT."""

    image_size: int
    patch_size: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    text_width: int
    text_layers: int
    text_heads: int
    text_hidden: int
    vocabulary: int
    positions: int

    @classmethod
    def of(cls, spec: ScorerSpec) -> BlipShape:
        """The shape that a spec's options name."""
        return cls(**{field.name: spec.option(field.name) for field in fields(cls)})


def vision_tower(shape: BlipShape, precision: str = "float32") -> BlipVisionModel:
    """The ViT without memory. Its norms add 1e-6 to a variance, as timm's do; transformers' 1e-5 gives other scores."""
    config = BlipVisionConfig(
        hidden_size=shape.vision_width,
        intermediate_size=4 * shape.vision_width,
        num_hidden_layers=shape.vision_layers,
        num_attention_heads=shape.vision_heads,
        image_size=shape.image_size,
        patch_size=shape.patch_size,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
    )
    return empty(lambda: BlipVisionModel(config), precision)


def text_tower(shape: BlipShape, precision: str = "float32", *, looks: bool) -> BlipTextModel:
    """The BERT without memory and without a pooler. `looks` gives each layer a cross-attention over the image's tokens,
    which transformers calls a decoder; its attention over words goes both ways all the same."""
    config = BlipTextConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.text_width,
        encoder_hidden_size=shape.vision_width,
        intermediate_size=shape.text_hidden,
        num_hidden_layers=shape.text_layers,
        num_attention_heads=shape.text_heads,
        max_position_embeddings=shape.positions,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        is_decoder=looks,
        bos_token_id=None,
        eos_token_id=None,
        sep_token_id=None,
    )
    return empty(lambda: BlipTextModel(config, add_pooling_layer=False), precision)


def load_vision(shape: BlipShape, state: Mapping[str, torch.Tensor], precision: str, device: str) -> BlipVisionModel:
    """The ViT with a checkpoint's `visual_encoder.` tensors, that prefix taken off."""
    tensors = {vision_key(key): value for key, value in state.items()}
    return fill(vision_tower(shape, precision), tensors, what="of BLIP's ViT", device=device)


def load_text(
    shape: BlipShape, state: Mapping[str, torch.Tensor], precision: str, device: str, *, looks: bool
) -> BlipTextModel:
    """The BERT with a checkpoint's `text_encoder.` tensors, that prefix taken off. The table of positions 0, 1, 2 … is
    not read."""
    tensors = {key: value for key, value in state.items() if key != "embeddings.position_ids"}
    model = text_tower(shape, precision, looks=looks)
    model.embeddings.position_ids = torch.arange(shape.positions)[None]
    return fill(model, tensors, what="of BLIP's BERT", device=device)


_VISION_KEYS = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj": "embeddings.patch_embedding",
    "norm": "post_layernorm",
}
_BLOCK_KEYS = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
}


def vision_key(key: str) -> str:
    """What transformers calls a parameter of the ViT that timm, and so the checkpoint, calls `key`."""
    name, dot, kind = key.rpartition(".") if key.endswith((".weight", ".bias")) else (key, "", "")
    if name.startswith("blocks."):
        _, number, inner = name.split(".", 2)
        name = f"encoder.layers.{number}.{_BLOCK_KEYS.get(inner, inner)}"
    return _VISION_KEYS.get(name, name) + dot + kind


def look(vision: BlipVisionModel, pixels: torch.Tensor) -> torch.Tensor:
    """All tokens (n, 1 + patches, width) of images (n, 3, size, size), [CLS] first, after the last norm."""
    seen = vision.embeddings(pixels)
    for layer in vision.encoder.layers:
        attention = layer.self_attn
        fused = attention.qkv(layer.layer_norm1(seen)).unflatten(-1, (3, attention.num_heads, -1))
        query, key, value = fused.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        seen = seen + attention.projection(attended)
        seen = seen + layer.mlp(layer.layer_norm2(seen))
    return vision.post_layernorm(seen)


def read(
    text: BlipTextModel, ids: torch.Tensor, lengths: torch.Tensor, seen: torch.Tensor | None = None
) -> torch.Tensor:
    """The last hidden states (n, t, width) of token ids (n, t), of which the first `lengths` (n,) are the prompt; with
    `seen` (n, tokens, vision width), of prompts read before these images."""
    words = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None])[:, None, None]
    states = text.embeddings(ids)
    for layer in text.encoder.layer:
        states = _attend(layer.attention, states, states, words)
        if seen is not None:
            states = _attend(layer.crossattention, states, seen, None)
        states = layer.feed_forward_chunk(states)
    return states


def _attend(
    attention: torch.nn.Module, states: torch.Tensor, read: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """One attention of the BERT with its residual and norm: from `states`, over what is `read`."""
    inner = attention.self
    query, key, value = (
        projection(tokens).unflatten(-1, (inner.num_attention_heads, -1)).transpose(1, 2)
        for projection, tokens in ((inner.query, states), (inner.key, read), (inner.value, read))
    )
    attended = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return attention.output(attended.transpose(1, 2).flatten(2), states)


def by_length(lengths: NDArray[np.int64], part: int) -> Iterator[NDArray[np.int64]]:
    """Places of prompts, those of like length together and at most `part` at once, so that little is padded."""
    order = np.argsort(lengths, kind="stable")
    yield from (order[start : start + part] for start in range(0, len(order), part))


def padded(ids: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Each prompt as its length, its ids, and zeros up to the longest of these prompts."""
    longest = max(map(len, ids))
    return [np.concatenate([[len(each)], each, np.zeros(longest - len(each), np.int64)]) for each in ids]


class WordPieces:
    """bert-base-uncased's tokenizer as BLIP has it, with [DEC] and [ENC] behind its vocabulary. It puts [CLS] before a
    prompt, never [ENC], as ImageReward's training did; a prompt that spells out a special token gets that token."""

    def __init__(self, vocabulary: Path, *, size: int) -> None:
        """Read from a file of one piece a line. WeightsError unless it has `size` pieces with [DEC] and [ENC]."""
        pieces = vocabulary.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        ids = {piece: number for number, piece in enumerate(pieces)}
        if len(ids) + 2 != size or not {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"} <= ids.keys():
            raise WeightsError(
                f"{vocabulary} is not the vocabulary of these weights: {len(ids)} distinct pieces, not {size - 2}",
                code="weights-other-vocabulary",
                hint="fetch it again with `pairsieve scorers pull`",
            )
        self._tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
        self._tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"])
        ends = [(piece, ids[piece]) for piece in ("[CLS]", "[SEP]")]
        self._tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
        self._tokenizer.enable_truncation(CONTEXT)

    def __call__(self, prompts: Sequence[str]) -> list[NDArray[np.int64]]:
        """The ids of each prompt, [CLS] … [SEP], at most CONTEXT of them and not padded."""
        return [np.array(encoding.ids, np.int64) for encoding in self._tokenizer.encode_batch_fast(list(prompts))]
