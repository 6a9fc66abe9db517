"""What a tiny model's denoiser is given, and what it says of it."""

import torch
from torch import Tensor, nn

from training.models.base import Conditioning, DiffusionModel


def inputs(model: DiffusionModel) -> tuple[Tensor, Tensor, Conditioning, Tensor]:
    """Noisy latents, times, conditioning and geometry of two pictures."""
    latents = torch.randn((2, *model.description.latent_shape()), generator=torch.Generator().manual_seed(1))
    times = model.times(torch.tensor([0.2, 0.8], dtype=torch.float64))
    geometry = torch.tensor([[64, 48, 3, 0, 32, 32], [512, 512, 0, 8, 32, 32]])
    return latents, times, model.encode_prompts(["a red star", "a blue circle"]), geometry


def predicted(model: DiffusionModel, denoiser: nn.Module | None = None) -> Tensor:
    """What a denoiser (the model's own unless given) says of `inputs`."""
    return model.predict(denoiser or model.denoiser, *inputs(model))
