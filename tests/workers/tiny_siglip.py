"""A tiny SigLIP 2 whose dimensions all differ and whose every parameter is noise, by open_clip and timm."""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file

from tests.workers.clip_scorers import spec
from tests.workers.clip_vocabularies import gemma_like
from tests.workers.tiny_clip import noisy_state, open_clip_model
from workers.scorers.base import ScorerSpec
from workers.scorers.views import squash

SHORT = ["red star", "a blue cross on snow", "x" * 100, "Red, Star!", ""]


SIGLIP: dict[str, Any] = {
    "embed_dim": 36,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 32,
        "timm_model_name": "tiny_siglip_for_tests",
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": {
        **{"context_length": 64, "vocab_size": 31, "width": 20, "heads": 4, "layers": 2, "mlp_ratio": 3.7362},
        **{"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
        **{"norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"}},
    },
}


@timm.models.register_model
def tiny_siglip_for_tests(pretrained: bool = False, **kwargs: Any) -> Any:
    """vit_so400m_patch16_siglip_384 made small: the same options but for sizes."""
    sizes = {"patch_size": 8, "embed_dim": 36, "depth": 3, "num_heads": 3, "mlp_ratio": 3.7362, "img_size": 32}
    options = {"class_token": False, "global_pool": "map", "act_layer": "gelu_tanh"}
    create = timm.models.vision_transformer._create_vision_transformer
    return create("vit_so400m_patch16_siglip_384", pretrained=pretrained, **sizes, **(options | kwargs))


def siglip_spec(folder: Path) -> tuple[ScorerSpec, dict[str, torch.Tensor]]:
    """A scorer of a tiny SigLIP 2, and its parameters under open_clip's names."""
    folder = folder / "weights"
    folder.mkdir()
    state = noisy_state(open_clip_model(SIGLIP))
    save_file(state, folder / "weights.safetensors")
    gemma_like(folder)
    made = spec(folder, squash(32), layout="open_clip", tokenizer="siglip2", config=SIGLIP)
    half = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    options = tuple((key, half.get(key, value)) for key, value in made.options)
    return ScorerSpec("tiny", "", "x:y", views=made.views, assets=made.assets, options=options), state
