"""From a name to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from ranking.errors import PairsieveError
from training.blocks import TOYWORLD
from training.models.base import DiffusionModel
from training.models.sd import StableDiffusion

_TOYWORLD_PIPELINE = Path(__file__).parents[1] / "toyworld" / "weights" / "pipeline"


def load_model(name: str, *, device: str) -> DiffusionModel:
    """The model of a folder or hub name ("toyworld" is the one shipped), in float32, in eval mode, frozen.

    Raises PairsieveError where a part is missing or is not of this shape.
    """
    transformers.utils.logging.disable_progress_bar()  # a bar per loaded part would break ours
    source = str(_TOYWORLD_PIPELINE) if name == TOYWORLD else name
    where = torch.device(device)
    options: dict[str, Any] = {"dtype": torch.float32}
    try:
        vae = AutoencoderKL.from_pretrained(source, subfolder="vae", **options)
        text_encoder = CLIPTextModel.from_pretrained(source, subfolder="text_encoder", dtype=torch.float32)
        tokenizer = CLIPTokenizer.from_pretrained(source, subfolder="tokenizer")
        unet = UNet2DConditionModel.from_pretrained(source, subfolder="unet", **options)
        noise = DDPMScheduler.from_pretrained(source, subfolder="scheduler")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise PairsieveError(
            f"the model {name!r} cannot be loaded ({reason})",
            code="model-unloadable",
            hint="give a Stable-Diffusion folder with vae, text_encoder, tokenizer, unet and scheduler",
        ) from error
    for part in (vae, text_encoder, unet):
        part.requires_grad_(False).eval().to(where)
    return StableDiffusion(
        name, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, noise=noise, device=where
    )
