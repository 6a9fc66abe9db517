"""Models of full size whose random weights are made where they are used: nothing is downloaded and nothing read. With
`tiny` the same shapes with so few channels that a test can pay for them."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.full_size import write_configs
from benchmarks.training_assets import byte_tokenizer
from training.models.base import DiffusionModel, Parts
from training.models.describe import Description, describe
from training.models.load import vae_dtype
from training.precision import DTYPES, Precision

_CLIP: dict[str, Any] = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "projection_dim": 8,
}
_UNET: dict[str, Any] = {
    "sample_size": 16,
    "layers_per_block": 1,
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": 4,
    "norm_num_groups": 2,
}
_VAE: dict[str, Any] = {
    "block_out_channels": [4, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 2,
}
_TINY: dict[str, dict[str, dict[str, Any]]] = {
    "sd15": {"unet": _UNET | {"cross_attention_dim": 8}, "vae": _VAE, "text_encoder": _CLIP},
    "sdxl": {
        "unet": _UNET
        | {
            "transformer_layers_per_block": 1,
            "cross_attention_dim": 16,
            "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 6 * 4 + 8,
        },
        "vae": _VAE,
        "text_encoder": _CLIP,
        "text_encoder_2": _CLIP,
    },
    "sd3": {
        "transformer": {
            "sample_size": 16,
            "num_layers": 2,
            "attention_head_dim": 4,
            "num_attention_heads": 2,
            "caption_projection_dim": 8,
            "joint_attention_dim": 16,
            "pooled_projection_dim": 16,
            "pos_embed_max_size": 16,
        },
        "vae": _VAE,
        "text_encoder": _CLIP,
        "text_encoder_2": _CLIP,
    },
}
_TOKENS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}


def describe_made(folder: Path, shape: str, *, tiny: bool = False) -> Description:
    """What "sd15", "sdxl" or "sd3" is; the config files go into `folder`. SD3 is taken without its T5."""
    changes = _TINY[shape] if tiny else {}
    index = write_configs(folder, shape, **changes) / "model_index.json"
    parts = json.loads(index.read_text())
    index.write_text(json.dumps({part: entry for part, entry in parts.items() if part != "text_encoder_3"}))
    return describe(str(folder))


def make_model(description: Description, *, device: str, precision: Precision, seed: int = 0) -> DiffusionModel:
    """A model of that description on the device, as `load_model` gives one."""
    from training.models.sd import StableDiffusion
    from training.models.sd3 import StableDiffusion3
    from training.models.sdxl import StableDiffusionXL

    torch.manual_seed(seed)
    with torch.device(device):
        vae = _made("AutoencoderKL", description.configs["vae"]).to(vae_dtype(description, precision))
        texts = [_text(description.configs[part]).to(DTYPES[precision]) for part in description.text_parts]
        denoiser = make_denoiser(description)
    for part in (vae, *texts):
        part.requires_grad_(False).eval()
    missing: list[Any] = [None] if description.family == "sd3" else []
    parts = Parts(
        vae=vae,
        denoiser=denoiser,
        text_encoders=(*texts, *missing),
        tokenizers=(*(byte_tokenizer() for _ in texts), *missing),
        scheduler=description.configs["scheduler"],
    )
    kinds: dict[str, Any] = {"sd": StableDiffusion, "sdxl": StableDiffusionXL, "sd3": StableDiffusion3}
    model: DiffusionModel = kinds[description.family](
        description, parts, device=torch.device(device), precision=precision
    )
    # So that a training that is over leaves nothing of its denoiser behind.
    model.parts = replace(parts, denoiser=None)
    return model


def with_new_denoiser(model: DiffusionModel, *, seed: int = 0) -> DiffusionModel:
    """The same model with a denoiser of its own to train, and the weights that it had at first."""
    other = copy.copy(model)
    torch.manual_seed(seed)
    with model.device:
        other.denoiser = make_denoiser(model.description)
    return other


def make_denoiser(description: Description) -> Any:
    """A frozen denoiser with random weights, on whatever device is asked for around this."""
    kind = "SD3Transformer2DModel" if description.family == "sd3" else "UNet2DConditionModel"
    return _made(kind, description.configs[description.part]).requires_grad_(False).eval()


def _made(kind: str, config: dict[str, Any]) -> Any:
    import diffusers

    return getattr(diffusers, kind).from_config(dict(config))


def _text(config: dict[str, Any]) -> Any:
    import transformers

    settings = transformers.CLIPTextConfig(**config | _TOKENS)
    return getattr(transformers, config["architectures"][0])(settings)
