"""What models over a schedule of discrete timesteps share: Stable Diffusion 1.x and 2.x, and SDXL."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from training.models.base import DiffusionModel, Parts
from training.models.describe import Description
from training.precision import Precision


class DiscreteDiffusion(DiffusionModel):
    """Noise by the betas of the model's own scheduler config, whatever class it names; a UNet that predicts the noise
    or the velocity; every timestep as likely as another."""

    def __init__(
        self, description: Description, parts: Parts, *, device: torch.device, precision: Precision = "fp32"
    ) -> None:
        super().__init__(description, parts, device=device, precision=precision)
        self.noise = DDPMScheduler.from_config({k: v for k, v in parts.scheduler.items() if not k.startswith("_")})

    def times(self, uniform: Tensor) -> Tensor:
        count = int(self.noise.config.num_train_timesteps)
        return (uniform * count).long().clamp(0, count - 1)

    def noised(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        noisy: Tensor = self.noise.add_noise(latents, noise, times)
        return noisy

    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        if self.description.prediction == "epsilon":
            return noise
        velocity: Tensor = self.noise.get_velocity(latents, noise, times)
        return velocity

    def sampler(self) -> Any:
        """DDIM over the model's schedule: deterministic, the same whatever class the folder names."""
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        return DDIMScheduler.from_config(self.noise.config, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
