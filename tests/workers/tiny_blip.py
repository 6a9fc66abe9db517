"""BLIP in miniature, no two dimensions equal, and the layout of its checkpoints by formula: for the tests, and for the
scripts that run the authors' code on the same weights in an environment of its own. Needs numpy and Pillow only."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from noise import noise, noisy_pixels
from PIL import Image

TINY: dict[str, Any] = {
    "image_size": 48,
    "patch_size": 16,
    "vision_width": 60,
    "vision_layers": 3,
    "vision_heads": 5,
    "text_width": 48,
    "text_layers": 2,
    "text_heads": 6,
    "text_hidden": 72,
    "vocabulary": 99,
    "positions": 41,
}
"""Its heads divide otherwise than 8 would, which is what transformers takes when nothing is said."""

PROJECTION = 256

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = [
    *("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("a", "i", "o", "s", "t", "x", "8", "!", "'", ",", "-", ".", "<", ">", "[", "]", "é", "水", "的"),
    *(f"##{letter}" for letter in _LETTERS),
    *("cat", "cats", "with", "horn", "red", "star", "on", "sand", "back", "##ground", "##ing", "paint", "un", "##able"),
    *("cafe", "naive", "l", "m", "enc", "cls", "sep", "the", "of", "and", "in", "sky", "blue", "dog", "light", "##s!"),
    *("uber", "fluff", "tree", "house", "4", "k"),
]
"""A vocabulary in bert-base-uncased's format, [PAD] first, without [DEC] and [ENC]."""

PROMPTS = [
    "a red cat",
    "A Café-cat, naïve! with unstarable horns on sandbackground...",
    "cats on the sand of the blue sky in the light, a painting of a tree and a house and a dog with horn, 4k 4k 4k 4k",
    "",
]

NASTY = [
    "[ENC] a [DEC] cat [CLS] with [SEP] horn [MASK] [PAD]",
    "[enc] [cls]",
    "  a\tred\u00a0cat\r\n\u200bwith\u0000 horn\ufffd ",
    "“cat’s” — CATS… l’étoile ﬁ ½ №",
    "水的的水 cat水dog",
    "ÜBER café cafe\u0301 İstanbul ΣΑΣ ß",
    "🐈 cat👍🏽dog",
    "&amp; <|endoftext|> </s> ##s a##s",
    "x" * 100 + " " + "x" * 101,
    "cat-dog_cat.dog/cat",
    "fluffy " * 40,
    "a" * 400,
]


def vision_layout(shape: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of BLIP's ViT: timm's names, a fused qkv with bias, an MLP four times as wide."""
    width, patch = shape["vision_width"], shape["patch_size"]
    tokens = (shape["image_size"] // patch) ** 2 + 1
    layout: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, tokens, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    for block in (f"blocks.{number}" for number in range(shape["vision_layers"])):
        layout |= _norm(f"{block}.norm1", width) | _norm(f"{block}.norm2", width)
        layout |= _linear(f"{block}.attn.qkv", width, 3 * width) | _linear(f"{block}.attn.proj", width, width)
        layout |= _linear(f"{block}.mlp.fc1", width, 4 * width) | _linear(f"{block}.mlp.fc2", 4 * width, width)
    return layout | _norm("norm", width)


def text_layout(shape: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of BLIP's BERT with a cross-attention in each layer and without a pooler."""
    width, hidden, positions = shape["text_width"], shape["text_hidden"], shape["positions"]
    layout: dict[str, tuple[int, ...]] = {
        "embeddings.position_ids": (1, positions),
        "embeddings.word_embeddings.weight": (shape["vocabulary"], width),
        "embeddings.position_embeddings.weight": (positions, width),
    } | _norm("embeddings.LayerNorm", width)
    for layer in (f"encoder.layer.{number}" for number in range(shape["text_layers"])):
        for attention, read in (("attention", width), ("crossattention", shape["vision_width"])):
            layout |= _linear(f"{layer}.{attention}.self.query", width, width)
            layout |= _linear(f"{layer}.{attention}.self.key", read, width)
            layout |= _linear(f"{layer}.{attention}.self.value", read, width)
            layout |= _linear(f"{layer}.{attention}.output.dense", width, width)
            layout |= _norm(f"{layer}.{attention}.output.LayerNorm", width)
        layout |= _linear(f"{layer}.intermediate.dense", width, hidden)
        layout |= _linear(f"{layer}.output.dense", hidden, width) | _norm(f"{layer}.output.LayerNorm", width)
    return layout


def blip_layout(shape: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """What BLIPScore and ImageReward share: both towers, and the two projections of the contrastive loss."""
    layout = {f"visual_encoder.{key}": size for key, size in vision_layout(shape).items()}
    layout |= {f"text_encoder.{key}": size for key, size in text_layout(shape).items()}
    layout |= _linear("vision_proj", shape["vision_width"], PROJECTION)
    return layout | _linear("text_proj", shape["text_width"], PROJECTION)


def reward_layout(shape: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of ImageReward.pt."""
    layout = {f"blip.{key}": size for key, size in blip_layout(shape).items()}
    widths = (shape["text_width"], 1024, 128, 64, 16, 1)
    for place, (read, write) in zip((0, 2, 4, 6, 7), pairwise(widths), strict=True):
        layout |= _linear(f"mlp.layers.{place}", read, write)
    return layout


def pretrain_layout(shape: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of what BLIP's pre-training keeps under "model": the towers twice (once as momentum), the
    queues, the matching head, the temperature and the decoder, which has a head over words."""
    towers = blip_layout(shape)
    width, words = shape["text_width"], shape["vocabulary"]
    momentum = {}
    for key, size in towers.items():
        part, _, rest = key.partition(".")
        momentum[f"{part}_m.{rest}"] = size
    decoder = {f"text_decoder.bert.{key}": size for key, size in text_layout(shape).items()}
    decoder |= {"text_decoder.cls.predictions.bias": (words,)}
    decoder |= _linear("text_decoder.cls.predictions.transform.dense", width, width)
    decoder |= _norm("text_decoder.cls.predictions.transform.LayerNorm", width)
    decoder |= _linear("text_decoder.cls.predictions.decoder", width, words)
    queues: dict[str, tuple[int, ...]] = {"image_queue": (PROJECTION, 30), "text_queue": (PROJECTION, 30)}
    rest: dict[str, tuple[int, ...]] = {"queue_ptr": (1,), "temp": ()}
    return towers | momentum | decoder | queues | rest | _linear("itm_head", width, 2)


def tiny_parameters(layout: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Every tensor of a layout as noise of its name; norms' weights larger, so that the signal stays alive."""
    return {
        key: np.arange(size[-1])[None]
        if key.endswith("position_ids")
        else np.asarray(noise(key, size, scale=0.8 if "norm" in key.lower() and key.endswith("weight") else 0.13))
        for key, size in layout.items()
    }


def pictures() -> list[Image.Image]:
    """Noise with a gradient, in odd sizes, wide and tall."""
    made = []
    for number, (height, width) in enumerate([(48, 48), (61, 83), (97, 50)]):
        slope = np.linspace(0, 120, width)[None, :, None] + np.linspace(90, 0, height)[:, None, None]
        rough = noisy_pixels(f"picture {number}", (height, width, 3)) * 0.4
        made.append(Image.fromarray((rough + slope * np.array([1.0, 0.6, 0.3])).astype(np.uint8)))
    return made


def _linear(name: str, read: int, write: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (write, read), f"{name}.bias": (write,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
