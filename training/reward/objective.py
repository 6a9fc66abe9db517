"""PickScore's objective: the cross-entropy of the softmax over a pair's two scores, against the label that people gave.

Kirstain et al. 2023, "Pick-a-Pic", section 4, with the weights of its published trainer: each example counts
1 / num_example_per_prompt, divided by the sum of these weights over the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """n pairs: positions of both images and of the prompt, int64 (n,); `label`, float64 (n,), is 1 where image 0 won, 0
    where image 1 did, ½ for a tie; `weight`, float64 (n,)."""

    image_0: Numbers
    image_1: Numbers
    prompt: Numbers
    label: NDArray[np.float64]
    weight: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Pairs:
        """The pairs at these rows."""
        return Pairs(*(getattr(self, name)[rows] for name in Pairs.__dataclass_fields__))


def example_weights(prompt: NDArray[np.integer], how: Literal["prompt", "none"]) -> NDArray[np.float64]:
    """For each pair 1 / the number of pairs of its prompt among these, or 1: float64 (n,)."""
    if how == "none":
        return np.ones(len(prompt))
    _, of, counts = np.unique(prompt, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[of])


def preference_loss(gap: Tensor, label: Tensor, weight: Tensor, *, total: float, smoothing: float = 0.0) -> Tensor:
    """Σ wᵢ (−tᵢ log pᵢ − (1 − tᵢ) log(1 − pᵢ)) / `total`, p = σ(gap), t = (1 − smoothing) · label + smoothing / 2.

    `gap` is the score of image 0 minus that of image 1, float32 (n,): the softmax over two scores is the logistic
    function of their difference. `total` is the sum of weights of all that one optimiser step sees, so that a batch
    in parts gives the gradient of the whole. A scalar; ln 2 where the scores say nothing.
    """
    target = label * (1 - smoothing) + smoothing / 2
    losses = torch.nn.functional.binary_cross_entropy_with_logits(gap.float(), target, reduction="none")
    return (losses * weight).sum() / total
