"""From a name to a model: parts are read from safetensors, checked, frozen and put on the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError

from training.blocks import FlowConfig
from training.config import TrainConfig
from training.models.base import DiffusionModel, Parts
from training.models.describe import Description, describe
from training.models.sources import ModelError
from training.models.weight_files import weight_files
from training.precision import DTYPES, Precision


def load_for(config: TrainConfig, *, device: str) -> DiffusionModel:
    """The model that a run's config names, in its precision."""
    return load_model(config.model, device=device, precision=config.precision, vae=config.vae, flow=config.flow)


def load_model(
    name: str,
    *,
    device: str,
    precision: Precision = "fp32",
    vae: str | None = None,
    flow: FlowConfig | None = None,
) -> DiffusionModel:
    """The model of a folder or hub name ("toyworld" is the one shipped), in eval mode, frozen, perhaps with the VAE of
    another. The denoiser is float32, since it or its adapters are trained; text encoders have the run's precision; the
    VAE is float32 too unless it is known to stand float16, whose range SDXL's own VAE leaves.

    Raises ModelError, in one line, where a part is missing or damaged or not of this shape.
    """
    description = describe(name, vae=vae)
    description.fetch_weights()
    where = torch.device(device)
    with _quietly():
        parts = _load_parts(description, precision)
    for part in (parts.vae, parts.denoiser, *parts.text_encoders):
        if part is not None:
            part.requires_grad_(False).eval()
    if description.family == "sd3":
        from training.models.sd3 import StableDiffusion3

        model: DiffusionModel = StableDiffusion3(description, parts, device=where, precision=precision, flow=flow)
    elif description.family == "sdxl":
        from training.models.sdxl import StableDiffusionXL

        model = StableDiffusionXL(description, parts, device=where, precision=precision)
    else:
        from training.models.sd import StableDiffusion

        model = StableDiffusion(description, parts, device=where, precision=precision)
    for part in (parts.vae, parts.denoiser, *parts.text_encoders):
        if part is not None:
            part.to(where)
    return model


def vae_dtype(description: Description, precision: Precision) -> torch.dtype:
    """float16 only for VAEs that stand it: those of SD, and SDXL's where its config says that it needs no upcasting.
    Under bf16 latents are still computed in float32, once; bf16's 8 bits would be seen."""
    upcast = description.family != "sd" and bool(description.configs["vae"].get("force_upcast", True))
    return torch.float16 if precision == "fp16" and not upcast else torch.float32


def _load_parts(description: Description, precision: Precision) -> Parts:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    if description.family == "sd3":
        from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel as Denoiser
    else:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel as Denoiser
    texts = [_load_text(description, part, DTYPES[precision]) for part in description.text_parts]
    names = [part.replace("text_encoder", "tokenizer") for part in description.text_parts]
    tokenizers = [_load_tokenizer(description, name) for name in names]
    if description.family == "sd3" and len(texts) == 2:
        texts, tokenizers = [*texts, None], [*tokenizers, None]
    return Parts(
        vae=_load_part(AutoencoderKL, description, "vae", vae_dtype(description, precision)),
        denoiser=_load_part(Denoiser, description, description.part, torch.float32),
        text_encoders=tuple(texts),
        tokenizers=tuple(tokenizers),
        scheduler=description.configs["scheduler"],
    )


def _load_part(kind: Any, description: Description, part: str, dtype: torch.dtype) -> Any:
    folder = description.part_folder(part)
    found = weight_files(folder)
    if not found.paths:
        raise ModelError(
            f"the {part} of the model {description.name!r} has no weights",
            hint="safetensors are read; pickled ones can be converted with diffusers: save_pretrained(folder)",
        )
    try:
        module, report = kind.from_pretrained(
            folder,
            dtype=dtype,
            variant=found.variant,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"the {part} of the model {description.name!r} cannot be read ({reason})") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"the {part} of the model {description.name!r} lacks weights: {missing[0]} and {len(missing) - 1} more",
            hint="its files belong to another config",
        )
    return module


def _load_text(description: Description, part: str, dtype: torch.dtype) -> Any:
    import transformers

    config = description.configs[part]
    if config.get("model_type") == "t5":
        kind: Any = transformers.T5EncoderModel
    elif description.family == "sd" or (description.family == "sdxl" and part == "text_encoder"):
        kind = transformers.CLIPTextModel
    else:
        kind = transformers.CLIPTextModelWithProjection
    return _load_part(kind, description, part, dtype)


def _load_tokenizer(description: Description, part: str) -> Any:
    import transformers

    folder = description.part_folder(part)
    kind = transformers.T5Tokenizer if part == "tokenizer_3" else transformers.CLIPTokenizer
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"the {part} of the model {description.name!r} cannot be read ({reason})") from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Without a bar per loaded part, which would break ours."""
    import transformers

    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()
