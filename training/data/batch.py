"""What one forward pass is given."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from training.models.base import Conditioning


@dataclass(frozen=True)
class PairBatch:
    """B pairs on the model's device, winners first and then their losers: latents and noise float32 (2B, C, h, w),
    times (2B,), conditioning of 2B prompts, geometry int64 (2B, 6). A pair shares noise, time and prompt.
    `uniform` float64 (B,) is the draws' place in time in [0, 1), on the CPU: what the times were made from.

    `preference` (B,) is the probability that the winner is the better image, `weight` (B,) of mean 1 over the run's
    pairs. `pairs` are their places among the run's pairs, `prompts` their original captions. `reference` (2B,) holds
    the reference's errors where they are cached, `features` (2B, 2, D) the unit vectors of each image, [:, 0], and of
    its original prompt, [:, 1], where the method compares pairs.
    """

    pairs: Tensor
    prompts: list[str]
    latents: Tensor
    noise: Tensor
    times: Tensor
    uniform: Tensor
    conditioning: Conditioning
    geometry: Tensor
    preference: Tensor
    weight: Tensor
    reference: Tensor | None = None
    features: Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompts)
