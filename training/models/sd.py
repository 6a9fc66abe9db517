"""The Stable-Diffusion shape (VAE, text encoder, UNet, one cross-attention): loading, encoding, sampling."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from ranking.errors import PairsieveError
from ranking.names import sha256_hex
from training.models.base import Conditioning, DiffusionModel


class StableDiffusion(DiffusionModel):
    """SD 1.x and 2.x: one text encoder, a UNet that predicts noise or velocity over 1000 timesteps."""

    family = "sd"

    def __init__(
        self,
        name: str,
        *,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        noise: DDPMScheduler,
        device: torch.device,
    ) -> None:
        self.name = name
        self.vae, self.text_encoder, self.tokenizer = vae, text_encoder, tokenizer
        self.denoiser: UNet2DConditionModel = unet
        self.noise = noise
        self.device = device
        self.vae_fingerprint = digest_of(vae)
        self.text_fingerprint = digest_of(text_encoder)
        self.fingerprint = sha256_hex("".join([self.vae_fingerprint, self.text_fingerprint, digest_of(unet)]).encode())

    @property
    def resolution(self) -> int:
        size: int = self.denoiser.config.sample_size
        return size * self.stride

    @property
    def stride(self) -> int:
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def latent_channels(self) -> int:
        return int(self.vae.config.latent_channels)

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        latents: Tensor = self.vae.encode(pixels.to(self.device)).latent_dist.mode() * self.vae.config.scaling_factor
        return latents.float()

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        encoded = self.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        )
        return Conditioning({"states": self.text_encoder(encoded.input_ids.to(self.device)).last_hidden_state})

    def times(self, uniform: Tensor) -> Tensor:
        return (uniform * self.noise.config.num_train_timesteps).long()

    def noised(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        noisy: Tensor = self.noise.add_noise(latents, noise, times)
        return noisy

    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        kind = self.noise.config.prediction_type
        if kind == "epsilon":
            return noise
        if kind == "v_prediction":
            velocity: Tensor = self.noise.get_velocity(latents, noise, times)
            return velocity
        raise PairsieveError(f"models that predict {kind!r} cannot be trained", code="prediction-type")

    def predict(
        self, denoiser: nn.Module, noisy: Tensor, times: Tensor, conditioning: Conditioning, geometry: Tensor
    ) -> Tensor:
        del geometry  # these models are not told sizes
        prediction: Tensor = denoiser(noisy, times, conditioning.tensors["states"]).sample
        return prediction

    def sample(
        self,
        denoiser: nn.Module,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        steps: int,
        guidance: float,
        on_images: Callable[[int], None] | None = None,
        batch: int | None = None,
    ) -> NDArray[np.uint8]:
        batch = batch or 96
        pipeline = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=denoiser,
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

    def save(self, folder: Path, denoiser: nn.Module) -> None:
        denoiser.save_pretrained(folder / "unet", safe_serialization=True, max_shard_size="4GB")  # a bucket takes 5

    def load_trained(self, folder: Path) -> nn.Module:
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32)
        frozen: nn.Module = unet.requires_grad_(False).eval().to(self.device)
        return frozen


def digest_of(module: nn.Module) -> str:
    """The sha256 of a module's weights by name."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
