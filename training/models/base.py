"""What the loop, the caches and the evaluation know of a model: its parts and the few things they do with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ranking.errors import PairsieveError
from training.blocks import SaveConfig
from training.models import fingerprints, saving
from training.models.describe import Description, Family
from training.precision import Precision, autocast

Empty = Literal["encoded", "zeros"]

_PIXELS_AT_ONCE = 2**21
_MOST_AT_ONCE = 96


@dataclass(frozen=True)
class Conditioning:
    """What the denoiser is told of N prompts: tensors by name, the first axis of each N (`states` (N, tokens, width),
    `pooled` (N, width) where the family has one, `t5` (N, tokens, width) where SD3 has its third encoder)."""

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


@dataclass(frozen=True)
class Parts:
    """A model's loaded parts, frozen and in eval mode. A text encoder may be absent (None)."""

    vae: Any
    denoiser: Any
    text_encoders: tuple[Any, ...]
    tokenizers: tuple[Any, ...]
    scheduler: Mapping[str, Any]


class DiffusionModel(ABC):
    """A latent diffusion model: a VAE, text encoders, and the denoiser that is trained, frozen and in eval mode when
    loaded. `fingerprint` hashes whatever predictions depend on: weights, precision, the noise schedule; the others what
    latents (`vae_fingerprint`) and text states do, scaling factors and tokenizers among them."""

    family: ClassVar[Family]

    def __init__(
        self, description: Description, parts: Parts, *, device: torch.device, precision: Precision = "fp32"
    ) -> None:
        self.description, self.parts = description, parts
        self.name, self.device, self.precision = description.name, device, precision
        self.vae, self.denoiser = parts.vae, parts.denoiser
        self.vae_fingerprint = fingerprints.together(
            [fingerprints.of_weights(parts.vae), fingerprints.of_config(parts.vae.config)]
        )
        texts = [text for text in parts.text_encoders if text is not None]
        self.text_fingerprint = fingerprints.together(
            [
                self.family,
                *map(fingerprints.of_weights, texts),
                *(fingerprints.of_config(text.config.to_dict()) for text in texts),
                *(fingerprints.of_tokenizer(tokenizer) for tokenizer in parts.tokenizers if tokenizer is not None),
            ]
        )
        self.fingerprint = fingerprints.together(
            [
                self.vae_fingerprint,
                self.text_fingerprint,
                fingerprints.of_weights(parts.denoiser),
                fingerprints.of_config(parts.denoiser.config),
                fingerprints.of_config(parts.scheduler),
                precision,
            ]
        )

    @property
    def resolution(self) -> int:
        """The side, in pixels, of the pictures this model was made for."""
        return self.description.resolution

    @property
    def stride(self) -> int:
        """Pixels per latent element along a side."""
        return self.description.stride

    @property
    def multiple(self) -> int:
        """What sides of pictures, in pixels, should be a multiple of."""
        return self.description.multiple

    @property
    def latent_channels(self) -> int:
        """C of the latents (N, C, h, w)."""
        return self.description.latent_channels

    def set_aside(self) -> None:
        """Move the VAE and the text encoders off the device, where what they compute is kept; each comes back by itself
        when it is needed, and stays."""
        for part in (self.vae, *self.parts.text_encoders):
            if part is not None:
                part.to("cpu")

    def at_hand(self, part: Any) -> Any:
        """A part, on the model's device."""
        return part if part.device == self.device else part.to(self.device)

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Latents float32 (N, C, h, w) of pixels float32 (N, 3, H, W) in [−1, 1], on the model's device: the
        posterior's mode, shifted and scaled as the denoiser takes them.

        Raises PairsieveError where one is not finite, as SDXL's own VAE gives in float16.
        """
        mode = self.at_hand(self.vae).encode(pixels.to(self.device, self.vae.dtype)).latent_dist.mode().float()
        latents: Tensor = (mode - self._shift(mode)) * self._scale(mode)
        if not bool(torch.isfinite(latents).all()):
            raise PairsieveError(
                f"the VAE of {self.name} gives latents that are no numbers in {self.vae.dtype}",
                code="non-finite-latents",
                hint="set vae: to one made for float16, or precision: to bf16 or fp32",
            )
        return latents

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> NDArray[np.uint8]:
        """Pictures uint8 (N, H, W, 3) of latents (N, C, h, w), one after another to spare memory at full size."""
        pictures = []
        for each in latents.float().split(1 if self.resolution > 256 else 64):
            wanted = (each / self._scale(each) + self._shift(each)).to(self.vae.dtype)
            pixels = self.at_hand(self.vae).decode(wanted).sample.float()
            if not bool(torch.isfinite(pixels).all()):
                raise PairsieveError(
                    f"{self.name} draws pictures that are no numbers",
                    code="non-finite-pictures",
                    hint="its training diverged, or its VAE needs precision: bf16 or fp32",
                )
            pictures.append((pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy())
        return np.rint(np.concatenate(pictures) * 255).astype(np.uint8)

    def token_ids(self, tokenizer: Any, prompts: Sequence[str], *, length: int | None = None) -> Tensor:
        """Tokens int64 (N, length) of prompts on the model's device, cut and filled up to the tokenizer's own length
        unless another is given."""
        encoded = tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=length or tokenizer.model_max_length,
            return_tensors="pt",
        )
        ids: Tensor = encoded.input_ids.to(self.device)
        return ids

    @abstractmethod
    def encode_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """The text states of prompts, float32 on the model's device; prompts beyond the model's length are cut."""

    @property
    def sampled_without_prompt(self) -> Empty:
        """What this model's pipeline puts where there is no prompt, as guidance needs it."""
        return "encoded"

    def stands_for_no_prompt(self, kind: Empty | None) -> Empty:
        """A kind, or what the pipeline samples with where none is given: a model that is trained without prompt on one
        thing and sampled with another has learnt that for nothing."""
        return kind or self.sampled_without_prompt

    def no_prompt(self, kind: Empty | None = None) -> Conditioning:
        """What stands for a dropped prompt, of length 1; what the pipeline samples with unless a kind is given."""
        found = self.encode_prompts([""])
        if self.stands_for_no_prompt(kind) == "encoded":
            return found
        return Conditioning({name: torch.zeros_like(value) for name, value in found.tensors.items()})

    @property
    def noise_levels(self) -> Mapping[str, Any]:
        """What `times` depends on beside the model's own files, as plain data."""
        return {}

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
    def pipeline(self, denoiser: nn.Module) -> Any:
        """diffusers' pipeline around `denoiser`, which is given text states and gives latents."""

    @abstractmethod
    def _told(self, conditioning: Conditioning, *, negative: bool = False) -> dict[str, Tensor]:
        """Text states as the pipeline's arguments."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Forward passes in the model's precision; weights keep theirs."""
        return autocast(self.precision, self.device)

    @torch.no_grad()
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
        batch = batch or max(1, min(_MOST_AT_ONCE, _PIXELS_AT_ONCE // self.resolution**2))
        pipeline = self.pipeline(denoiser)
        pipeline.set_progress_bar_config(disable=True)
        empty = self.no_prompt()
        drawn = []
        for start in range(0, len(prompts), batch):
            part = prompts[start : start + batch]
            nothing = empty[torch.zeros(len(part), dtype=torch.long, device=self.device)]
            # One generator per image, on the CPU: an image depends on its seed and on nothing beside it.
            generators = [torch.Generator().manual_seed(seed) for seed in seeds[start : start + batch]]
            with self.autocast():
                made = pipeline(
                    **self._told(self.encode_prompts(part)),
                    **(self._told(nothing, negative=True) if guidance > 1 else {}),
                    height=self.resolution,
                    width=self.resolution,
                    num_inference_steps=steps,
                    guidance_scale=guidance,
                    generator=generators,
                    output_type="latent",
                )
            drawn.append(self.decode_latents(made.images))
            if on_images:
                on_images(len(part))
        return np.concatenate(drawn)

    def with_weights(self, state: Mapping[str, Tensor]) -> nn.Module:
        """A frozen denoiser of the same shape with these weights, which it does not copy."""
        return saving.with_weights(self.description, state)

    def save(self, folder: Path, denoiser: nn.Module, config: SaveConfig | None = None) -> None:
        """Write what diffusers loads: the trained denoiser or its adapters as safetensors, and the rest of the pipeline
        where `config` says so."""
        saving.save(folder, denoiser, self.description, config or SaveConfig())

    def load_trained(self, folder: Path) -> nn.Module:
        """What `save` wrote, as a frozen denoiser on the model's device."""
        return saving.load(folder, self.denoiser, self.description).to(self.device)

    def _scale(self, like: Tensor) -> Tensor:
        config = self.vae.config
        deviations = torch.ones(1) if config.latents_std is None else torch.tensor(config.latents_std)
        return (config.scaling_factor / deviations.view(1, -1, 1, 1)).to(like)

    def _shift(self, like: Tensor) -> Tensor:
        config = self.vae.config
        means = torch.tensor(config.latents_mean or [config.shift_factor or 0.0])
        return means.view(1, -1, 1, 1).to(like)
