"""The config files of full-size models, without weights: folders from which a description can be made, and nothing
else. Values as their authors publish them."""

import json
from pathlib import Path
from typing import Any

_UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
}
_FOUR: dict[str, Any] = {
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
_VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
_SCHEDULE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def _clip(kind: str, width: int, layers: int, heads: int, projection: int) -> dict[str, Any]:
    return {
        "architectures": [kind],
        "model_type": "clip_text_model",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "projection_dim": projection,
        "max_position_embeddings": 77,
        "vocab_size": 49408,
    }


_LARGE, _PROJECTED = "CLIPTextModel", "CLIPTextModelWithProjection"

CONFIGS: dict[str, dict[str, dict[str, Any]]] = {
    "sd15": {
        "unet": _UNET | _FOUR | {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
        "vae": _VAE | {"scaling_factor": 0.18215},
        "text_encoder": _clip(_LARGE, 768, 12, 12, 768),
        "scheduler": _SCHEDULE | {"_class_name": "PNDMScheduler", "skip_prk_steps": True},
    },
    "sd21": {
        "unet": _UNET
        | _FOUR
        | {
            "sample_size": 96,
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "use_linear_projection": True,
        },
        "vae": _VAE | {"scaling_factor": 0.18215},
        "text_encoder": _clip(_LARGE, 1024, 23, 16, 512),
        "scheduler": _SCHEDULE | {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"},
    },
    "sdxl": {
        "unet": _UNET
        | {
            "sample_size": 128,
            "block_out_channels": [320, 640, 1280],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "transformer_layers_per_block": [1, 2, 10],
            "attention_head_dim": [5, 10, 20],
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        "vae": _VAE | {"scaling_factor": 0.13025, "force_upcast": True},
        "text_encoder": _clip(_LARGE, 768, 12, 12, 768),
        "text_encoder_2": _clip(_PROJECTED, 1280, 32, 20, 1280),
        "scheduler": _SCHEDULE | {"_class_name": "EulerDiscreteScheduler", "prediction_type": "epsilon"},
    },
    "sd3": {
        "transformer": {
            "_class_name": "SD3Transformer2DModel",
            "sample_size": 128,
            "patch_size": 2,
            "in_channels": 16,
            "out_channels": 16,
            "num_layers": 24,
            "attention_head_dim": 64,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "caption_projection_dim": 1536,
            "pooled_projection_dim": 2048,
            "pos_embed_max_size": 192,
        },
        "vae": _VAE
        | {
            "latent_channels": 16,
            "scaling_factor": 1.5305,
            "shift_factor": 0.0609,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
        },
        "text_encoder": _clip(_PROJECTED, 768, 12, 12, 768),
        "text_encoder_2": _clip(_PROJECTED, 1280, 32, 20, 1280),
        "text_encoder_3": {
            "architectures": ["T5EncoderModel"],
            "model_type": "t5",
            "vocab_size": 32128,
            "d_model": 4096,
            "d_kv": 64,
            "d_ff": 10240,
            "num_layers": 24,
            "num_heads": 64,
            "feed_forward_proj": "gated-gelu",
        },
        "scheduler": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
    },
}
_CLASSES = {
    "sd15": "StableDiffusionPipeline",
    "sd21": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
}


def write_configs(folder: Path, model: str, **changes: dict[str, Any]) -> Path:
    """A folder of `model`'s config files; `changes` are laid over those of a part."""
    parts = CONFIGS[model]
    index: dict[str, Any] = {"_class_name": _CLASSES[model]}
    for part, config in parts.items():
        index[part] = ["library", config.get("_class_name", "class")]
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / part / name).write_text(json.dumps(config | changes.get(part, {})))
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
