"""MPS on a CLIP ViT-H/14, the "overall" condition, which is the only one that its authors released."""

from __future__ import annotations

from workers.scorers.base import Cost, Options, ScorerSpec
from workers.scorers.views import hf_crop
from workers.scorers.weights import Asset

_TOKENIZER = "hf://laion/CLIP-ViT-H-14-laion2B-s32B-b79K@1c2b8495b28150b8a4922ee1c8edee224c284c0c"

_CONDITION = (
    "light, color, clarity, tone, style, ambiance, artistry, shape, face, hair, hands, limbs, structure, instance, "
    "texture, quantity, attributes, position, number, location, word, things."
)

_SHAPE: Options = (
    ("image_size", 224),
    ("patch_size", 14),
    ("vision_width", 1280),
    ("vision_hidden", 5120),
    ("vision_layers", 32),
    ("vision_heads", 16),
    ("text_width", 1024),
    ("text_hidden", 4096),
    ("text_layers", 24),
    ("text_heads", 16),
    ("context", 77),
    ("vocabulary", 49408),
    ("projection", 1024),
    ("cross_layers", 4),
    ("cross_heads", 16),
    ("cross_head_width", 64),
)

SPECS = (
    ScorerSpec(
        name="mps",
        summary="MPS, overall: preference seen through those words of the prompt that bear on it (Zhang et al. 2024)",
        factory="workers.scorers.mps:mps",
        views=(hf_crop(224),),
        assets=(
            Asset("mps/model.safetensors", "hf://RE-N-Y/mpsv1@main/model.safetensors"),
            Asset("mps/vocab.json", f"{_TOKENIZER}/vocab.json"),
            Asset("mps/merges.txt", f"{_TOKENIZER}/merges.txt"),
        ),
        options=(*_SHAPE, ("threshold", 0.3), ("condition", _CONDITION)),
        weights_licence="MIT (the authors'; the repository that re-hosts them names none)",
        range="open; mostly about 9, compare within one prompt only",
        cost=Cost(parameters=1_104_614_913, image_gflops=395.0, text_gflops=47.1),
    ),
)
