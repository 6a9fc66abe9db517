"""Models of every family with a few thousand random weights, as folders that diffusers saves: 32 px pictures, 16×16
latents, texts of at most 16 tokens. Built by code, so tests need no network."""

import warnings
from pathlib import Path
from typing import Any

import torch

from training.toyworld.tokenizer import CONTEXT, build_tokenizer

_BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def save_sd(folder: Path, *, prediction: str = "epsilon", seed: int = 0, scheduler: Any = None) -> Path:
    """Stable Diffusion 1.x, or 2.x where `prediction` is v_prediction; DDIM's schedule unless another is given."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    parts = {
        "vae": _vae(latent_channels=4),
        "text_encoder": _clip(len(tokenizer), hidden=8, layers=2),
        "tokenizer": tokenizer,
        "unet": _unet(cross_attention_dim=8),
        "scheduler": scheduler
        or DDIMScheduler(
            **_BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type=prediction
        ),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    return _saved(StableDiffusionPipeline, parts, folder)


def save_sdxl(folder: Path, *, seed: int = 0, zeros: bool = True) -> Path:
    """SDXL: text states of width 8 + 16, pooled ones of width 16, time ids; `zeros` is force_zeros_for_empty_prompt."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    torch.manual_seed(seed)
    first, second = build_tokenizer(), build_tokenizer()
    parts = {
        "vae": _vae(latent_channels=4, scaling_factor=0.13025),
        "text_encoder": _clip(len(first), hidden=8, layers=3),
        "text_encoder_2": _clip(len(second), hidden=16, layers=3, projection=16),
        "tokenizer": first,
        "tokenizer_2": second,
        "unet": _unet(
            cross_attention_dim=24,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=6 * 4 + 16,
        ),
        "scheduler": EulerDiscreteScheduler(**_BETAS, steps_offset=1, timestep_spacing="leading"),
        "force_zeros_for_empty_prompt": zeros,
        "add_watermarker": False,
    }
    return _saved(StableDiffusionXLPipeline, parts, folder)


def save_sd3(folder: Path, *, seed: int = 0, t5: bool = False, shift: float = 3.0) -> Path:
    """Stable Diffusion 3: flow matching on 16 channels, with two CLIPs of width 8 and pooled 8, and a T5 if asked."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    torch.manual_seed(seed)
    first, second = build_tokenizer(), build_tokenizer()
    parts = {
        "transformer": SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=16,
            out_channels=16,
            num_layers=2,
            attention_head_dim=4,
            num_attention_heads=2,
            caption_projection_dim=8,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            pos_embed_max_size=16,
        ),
        "vae": _vae(
            latent_channels=16,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        "text_encoder": _clip(len(first), hidden=8, layers=3, projection=8),
        "tokenizer": first,
        "text_encoder_2": _clip(len(second), hidden=8, layers=3, projection=8),
        "tokenizer_2": second,
        "text_encoder_3": _t5(len(first)) if t5 else None,
        "tokenizer_3": _t5_tokenizer() if t5 else None,
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=shift),
    }
    return _saved(StableDiffusion3Pipeline, parts, folder)


def _unet(**more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        block_out_channels=(4, 8),
        layers_per_block=1,
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=2,
        **more,
    )


def _vae(**more: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=[4, 8],
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        norm_num_groups=2,
        sample_size=32,
        **more,
    )


def _clip(words: int, *, hidden: int, layers: int, projection: int | None = None) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_attention_heads=2,
        num_hidden_layers=layers,
        max_position_embeddings=CONTEXT,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
        projection_dim=projection or hidden,
    )
    return CLIPTextModel(config) if projection is None else CLIPTextModelWithProjection(config)


def _t5(words: int) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(vocab_size=words, d_model=16, d_kv=4, d_ff=16, num_heads=2, num_layers=1, decoder_start_token_id=0)
    )


def _t5_tokenizer() -> Any:
    from transformers import T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -2.0)]
    return T5Tokenizer(vocab=pieces + [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"], extra_ids=0)


def _saved(pipeline: Any, parts: dict[str, Any], folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline(**parts).save_pretrained(folder)
    return folder
