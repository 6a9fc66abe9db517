"""Crops as a tower wants them: uint8 crosses to the device, and is scaled and normalised there."""

from __future__ import annotations

from functools import lru_cache

import torch

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(crops: torch.Tensor) -> torch.Tensor:
    """float32 (n, 3, height, width) of uint8 crops (n, height, width, 3): divided by 255, then normalised by the mean
    and deviation that OpenAI's CLIP, and most towers after it, were trained with."""
    mean, std = _statistics(crops.device)
    return (crops.permute(0, 3, 1, 2).float() / 255 - mean) / std


@lru_cache(maxsize=8)
def _statistics(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))  # type: ignore[return-value]
