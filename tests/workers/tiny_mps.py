"""MPS in miniature, no two dimensions equal, and the layout of its checkpoint by formula. Needs no torch, and nothing
that the authors' environment lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from noise import noise, noisy_pixels
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel

_ALPHABET = sorted(ByteLevel.alphabet())
_MERGES = [
    ("c", "a"),
    ("ca", "t</w>"),
    ("r", "e"),
    ("re", "d</w>"),
    ("l", "i"),
    ("g", "h"),
    ("li", "gh"),
    ("ligh", "t</w>"),
]
VOCABULARY = [
    *_ALPHABET,
    *(f"{letter}</w>" for letter in _ALPHABET),
    *("".join(pair) for pair in _MERGES),
    *("<|startoftext|>", "<|endoftext|>"),
]

TINY: dict[str, Any] = {
    "image_size": 28,
    "patch_size": 7,
    "vision_width": 24,
    "vision_hidden": 60,
    "vision_layers": 3,
    "vision_heads": 3,
    "text_width": 45,
    "text_hidden": 50,
    "text_layers": 2,
    "text_heads": 5,
    "context": 23,
    "vocabulary": len(VOCABULARY),
    "projection": 34,
    "cross_layers": 2,
    "cross_heads": 7,
    "cross_head_width": 10,
    "threshold": 0.3,
    "condition": "light, cat",
}

PROMPTS = [
    "a red cat",
    "light",
    "CATS & dogs, in the 2nd light of a red",
    "hands and shapes of a long red cat light",
]


def write_vocabulary(folder: Path) -> tuple[Path, Path]:
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    vocab.write_text(json.dumps({word: row for row, word in enumerate(VOCABULARY)}))
    merges.write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in _MERGES)]) + "\n")
    return vocab, merges


def clip_layout(shape: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of transformers' CLIPModel."""
    patch, tokens = shape["patch_size"], (shape["image_size"] // shape["patch_size"]) ** 2 + 1
    seen, read, joint = shape["vision_width"], shape["text_width"], shape["projection"]
    layout: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "text_projection.weight": (joint, read),
        "visual_projection.weight": (joint, seen),
        "text_model.embeddings.token_embedding.weight": (shape["vocabulary"], read),
        "text_model.embeddings.position_embedding.weight": (shape["context"], read),
        "vision_model.embeddings.class_embedding": (seen,),
        "vision_model.embeddings.patch_embedding.weight": (seen, 3, patch, patch),
        "vision_model.embeddings.position_embedding.weight": (tokens, seen),
    }
    layout |= _norm("text_model.final_layer_norm", read)
    layout |= _norm("vision_model.pre_layrnorm", seen) | _norm("vision_model.post_layernorm", seen)
    for tower in ("text", "vision"):
        width, hidden = shape[f"{tower}_width"], shape[f"{tower}_hidden"]
        for layer in (f"{tower}_model.encoder.layers.{number}" for number in range(shape[f"{tower}_layers"])):
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                layout |= {
                    f"{layer}.self_attn.{part}.weight": (width, width),
                    f"{layer}.self_attn.{part}.bias": (width,),
                }
            layout |= _norm(f"{layer}.layer_norm1", width) | _norm(f"{layer}.layer_norm2", width)
            layout |= {f"{layer}.mlp.fc1.weight": (hidden, width), f"{layer}.mlp.fc1.bias": (hidden,)}
            layout |= {f"{layer}.mlp.fc2.weight": (width, hidden), f"{layer}.mlp.fc2.bias": (width,)}
    return layout


def cross_layout(shape: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of the authors' Cross_model, buffers too."""
    width, head = shape["projection"], shape["cross_head_width"]
    inner = shape["cross_heads"] * head
    layout: dict[str, tuple[int, ...]] = {}
    for number in range(shape["cross_layers"]):
        look, mix = f"layers.{number}.0.fn", f"layers.{number}.1.fn"
        layout |= _norm(f"{look}.norm", width) | _norm(f"{mix}.norm", width)
        layout |= {
            f"{look}.to_q.weight": (inner, width),
            f"{look}.to_kv.weight": (2 * head, width),
            f"{look}.to_out.weight": (width, inner),
            f"{look}.ff.0.weight": (8 * width, width),
            f"{look}.ff.2.weight": (width, 4 * width),
            f"{mix}.fused_attn_ff_proj.weight": (inner + 2 * head + 8 * width, width),
            f"{mix}.attn_out.weight": (width, inner),
            f"{mix}.ff_out.1.weight": (width, 4 * width),
            f"{mix}.rotary_emb.inv_freq": (head // 2,),
        }
    return layout


def mps_layout(shape: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """What the authors' CLIPModel holds, less the position ids of older transformers."""
    layout = {f"model.{key}": size for key, size in clip_layout(shape).items()}
    return layout | {f"cross_model.{key}": size for key, size in cross_layout(shape).items()}


def tiny_parameters(layout: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Every tensor of a layout as noise of its name; norms about one, so that the signal stays alive, and frequencies
    positive."""
    made = {}
    for key, size in layout.items():
        values = np.asarray(noise(key, size, scale=_SCALES.get(key.removeprefix("model."), 0.3)))
        if "norm" in key and key.endswith("weight"):
            values += 1
        if key.endswith("inv_freq"):
            values = np.abs(values) + np.float32(0.05)
        made[key] = np.full(size, 2.5, np.float32) if key.endswith("logit_scale") else values
    return made


_SCALES = {
    "text_model.embeddings.token_embedding.weight": 2.5,
    "text_model.embeddings.position_embedding.weight": 0.1,
    "text_model.final_layer_norm.bias": 0.1,
}
"""Words weigh most, so that some of a prompt are like the condition and some are not."""


def pictures() -> list[Image.Image]:
    return [Image.fromarray(noisy_pixels(f"mps {h}x{w}", (h, w, 3))) for h, w in ((28, 28), (61, 43), (33, 70))]


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
