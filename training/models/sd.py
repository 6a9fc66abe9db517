"""The Stable-Diffusion shape (VAE, text encoder, UNet, one cross-attention): loading, encoding, sampling."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from ranking.errors import PairsieveError
from training.config import TOYWORLD

_TOYWORLD_PIPELINE = Path(__file__).parents[1] / "toyworld" / "weights" / "pipeline"


@dataclass
class StableDiffusion:
    """The parts of one model, in float32 on one device; everything but `unet` is frozen."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: UNet2DConditionModel
    noise: DDPMScheduler
    device: torch.device
    fingerprint: str

    @property
    def resolution(self) -> int:
        """The side, in pixels, of the pictures this model was made for."""
        size: int = self.unet.config.sample_size
        return size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @torch.no_grad()
    def encode_images(self, images: Sequence[Image.Image], resolution: int) -> Tensor:
        """Latents (N, 4, h, w), float32 on the CPU: the posterior's mode times the VAE's scaling factor."""
        pixels = torch.stack([_model_input(image, resolution) for image in images]).to(self.device)
        latents = self.vae.encode(pixels).latent_dist.mode() * self.vae.config.scaling_factor
        return latents.float().cpu()

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Text states (N, tokens, width) for cross-attention; prompts beyond the model's length are cut."""
        encoded = self.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        )
        states: Tensor = self.text_encoder(encoded.input_ids.to(self.device)).last_hidden_state
        return states

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the UNet should predict, by the model's own prediction type."""
        kind = self.noise.config.prediction_type
        if kind == "epsilon":
            return noise
        if kind == "v_prediction":
            velocity: Tensor = self.noise.get_velocity(latents, noise, timesteps)
            return velocity
        raise PairsieveError(f"models that predict {kind!r} cannot be trained", code="prediction-type")

    def sample(
        self,
        unet: UNet2DConditionModel,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        steps: int,
        guidance: float,
        on_images: Callable[[int], None] | None = None,
        batch: int = 96,
    ) -> NDArray[np.uint8]:
        """One image per prompt and seed, uint8 (N, H, W, 3), by DDIM; `on_images` hears how many each batch made."""
        pipeline = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=unet,
            scheduler=DDIMScheduler.from_config(
                self.noise.config, clip_sample=False, set_alpha_to_one=False, steps_offset=1
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        drawn = []
        for start in range(0, len(prompts), batch):
            part = list(prompts[start : start + batch])
            # One generator per image, on the CPU: an image depends on its seed and on nothing beside it.
            generators = [torch.Generator().manual_seed(seed) for seed in seeds[start : start + batch]]
            made = pipeline(
                part,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=generators,
                output_type="np",
            )
            drawn.append(np.rint(made.images * 255).astype(np.uint8))
            if on_images:
                on_images(len(part))
        return np.concatenate(drawn)


def load_model(name: str, *, device: str) -> StableDiffusion:
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
    digest = hashlib.sha256()
    for part in (vae, text_encoder, unet):
        for key, value in sorted(part.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
    return StableDiffusion(vae, text_encoder, tokenizer, unet, noise, where, digest.hexdigest())


def load_unet(folder: Path, *, device: torch.device) -> UNet2DConditionModel:
    """A trained UNet in float32, frozen."""
    unet = UNet2DConditionModel.from_pretrained(folder, dtype=torch.float32)
    frozen: UNet2DConditionModel = unet.requires_grad_(False).eval().to(device)
    return frozen


def _model_input(image: Image.Image, resolution: int) -> Tensor:
    """RGB to float32 (3, R, R) in [-1, 1]: shortest side to R (bicubic), then the centre square."""
    width, height = image.size
    scale = resolution / min(width, height)
    if scale != 1:
        size = (max(resolution, round(width * scale)), max(resolution, round(height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (image.width - resolution) // 2, (image.height - resolution) // 2
    square = np.asarray(image.crop((left, top, left + resolution, top + resolution)), np.float32)
    return torch.from_numpy(square / 127.5 - 1).permute(2, 0, 1)
