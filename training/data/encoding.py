"""From framed pictures and prompts to what a denoiser is given: the same numbers whoever asks, so that what is kept and
what is computed at once are equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ranking.errors import PairsieveError
from training.config import TrainConfig
from training.models.base import Conditioning, DiffusionModel
from training.precision import allow_tf32

Storage = Literal["float32", "float16"]

# Enough to keep a device busy, few enough that a step that keeps nothing fills up little.
_PIXELS_AT_ONCE, _PICTURES_AT_ONCE, _PROMPTS_AT_ONCE = 2**19, 16, 8


def arithmetic(model: DiffusionModel, config: TrainConfig) -> str:
    """What products of float32 are taken in: TF32, which rounds them to 10 bits, where CUDA may, else float32. For the
    identity of what an encoder gave."""
    return "tf32" if model.device.type == "cuda" and config.tf32 else "float32"


def as_in_training(model: DiffusionModel, config: TrainConfig) -> None:
    """Have what is computed beforehand computed as the steps will, whoever set the process's switch last."""
    if model.device.type == "cuda":
        allow_tf32(config.tf32)


def pictures_at_once(height: int, width: int) -> int:
    """How many pictures of a size pass the VAE together, always: 16 of up to 181², 8 of 256², 2 of 512², else 1."""
    return max(1, min(_PICTURES_AT_ONCE, _PIXELS_AT_ONCE // (height * width)))


def encode_pictures(model: DiffusionModel, pixels: Sequence[Tensor], *, storage: Storage) -> Tensor:
    """Latents float32 (N, C, h, w) on the CPU, of pictures (3, H, W) of one size, rounded as they are stored.

    They pass in batches of a size that follows from the pictures' alone, the last filled up: kernels sum in another
    order for other batch sizes, and so a picture's latents depend on the picture and not on its neighbours. Raises
    PairsieveError where the VAE overflows, as half-precision ones do.
    """
    size = pictures_at_once(*pixels[0].shape[-2:])
    made = []
    for start in range(0, len(pixels), size):
        part = list(pixels[start : start + size])
        batch = torch.stack(part + part[:1] * (size - len(part)))
        made.append(model.encode_pixels(batch)[: len(part)].float().cpu())
    return _checked(torch.cat(made), storage, f"latents of {model.name}", "vae")


def encode_texts(model: DiffusionModel, prompts: Sequence[str], *, storage: Storage) -> Conditioning:
    """The text states of N prompts, float32 on the CPU, rounded as they are stored; batches as for pictures."""
    made: list[Conditioning] = []
    for start in range(0, len(prompts), _PROMPTS_AT_ONCE):
        part = list(prompts[start : start + _PROMPTS_AT_ONCE])
        told = model.encode_prompts(part + [""] * (_PROMPTS_AT_ONCE - len(part)))
        made.append(told[slice(0, len(part))])
    names = made[0].tensors
    return Conditioning(
        {
            name: _checked(
                torch.cat([each.tensors[name].float().cpu() for each in made]),
                storage,
                f"text states of {model.name}",
                "text_encoder",
            )
            for name in names
        }
    )


def _checked(values: Tensor, storage: Storage, what: str, part: str) -> Tensor:
    # Contiguous as from disk: a VAE may leave channels last, and the denoiser's kernels then sum in another order.
    stored = values.to(getattr(torch, storage)).float().contiguous()
    if not bool(torch.isfinite(stored).all()):
        at_fault = "the model's own" if not bool(torch.isfinite(values).all()) else f"too large for {storage}"
        raise PairsieveError(
            f"the {what} are not finite ({at_fault})",
            code="not-finite",
            hint=f"take a {part} that bears float32, and keep caches in float32",
        )
    return stored
