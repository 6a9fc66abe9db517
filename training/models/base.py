"""What the loop, the caches and the evaluation know of a model: its parts and the few things they do with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Family = Literal["sd", "sdxl", "sd3"]


@dataclass(frozen=True)
class Conditioning:
    """What the denoiser is told of N prompts: tensors by name, the first axis of each N (`states` (N, tokens, width),
    and `pooled` (N, width) where the family has one)."""

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, places: Any) -> Conditioning:
        return Conditioning({name: value[places] for name, value in self.tensors.items()})

    def to(self, device: torch.device) -> Conditioning:
        """The same on a device."""
        return Conditioning({name: value.to(device) for name, value in self.tensors.items()})

    def twice(self) -> Conditioning:
        """For winners and then losers: the same prompts two times over."""
        return Conditioning({name: torch.cat([value, value]) for name, value in self.tensors.items()})


class DiffusionModel(ABC):
    """A latent diffusion model: a VAE, text encoders, and the denoiser that is trained, all float32, frozen and in eval
    mode when loaded. `fingerprint` hashes all weights and the noise schedule; `vae_fingerprint` and `text_fingerprint`
    those that latents and text states depend on, tokenizers and scaling factors among them."""

    family: ClassVar[Family]
    name: str
    device: torch.device
    fingerprint: str
    vae_fingerprint: str
    text_fingerprint: str
    denoiser: nn.Module

    @property
    @abstractmethod
    def resolution(self) -> int:
        """The side, in pixels, of the pictures this model was made for."""

    @property
    @abstractmethod
    def stride(self) -> int:
        """Pixels per latent element along a side."""

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """C of the latents (N, C, h, w)."""

    @abstractmethod
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Latents float32 (N, C, h, w) of pixels float32 (N, 3, H, W) in [−1, 1], on the model's device: the
        posterior's mode, shifted and scaled as the denoiser takes them."""

    @abstractmethod
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """The text states of prompts, float32 on the model's device; prompts beyond the model's length are cut."""

    def no_prompt(self, kind: Literal["encoded", "zeros"]) -> Conditioning:
        """What stands for a dropped prompt, of length 1."""
        found = self.encode_prompts([""])
        if kind == "encoded":
            return found
        return Conditioning({name: torch.zeros_like(value) for name, value in found.tensors.items()})

    @abstractmethod
    def times(self, uniform: Tensor) -> Tensor:
        """Times (N,) of training from numbers uniform in [0, 1): the family's own distribution. int64 timesteps of a
        discrete schedule, float32 in (0, 1) for flow matching. Monotone in `uniform`."""

    @abstractmethod
    def noised(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Latents (N, C, h, w) at these times under this noise."""

    @abstractmethod
    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the denoiser should predict, by the model's own prediction type."""

    @abstractmethod
    def predict(
        self, denoiser: nn.Module, noisy: Tensor, times: Tensor, conditioning: Conditioning, geometry: Tensor
    ) -> Tensor:
        """The prediction (N, C, h, w) of `denoiser`, which is `self.denoiser`, a copy of it or a wrapper around it.
        `geometry` is int64 (N, 6): original height and width, top and left of the crop, target height and width, in
        pixels (SDXL's time ids; the others leave it)."""

    @abstractmethod
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
        """One image per prompt and seed, uint8 (N, H, W, 3); an image depends on its prompt and seed and on nothing
        beside it. `on_images` hears how many each batch made."""

    @abstractmethod
    def save(self, folder: Path, denoiser: nn.Module) -> None:
        """Write what diffusers loads: the trained denoiser, or its adapters, as safetensors."""

    @abstractmethod
    def load_trained(self, folder: Path) -> nn.Module:
        """What `save` wrote, as a frozen denoiser on the model's device."""
