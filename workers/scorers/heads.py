"""Linear heads on an embedding, each as the one affine map that it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from workers.scorers.layouts import State
from workers.scorers.weights import WeightsError

_LAION_LAYERS = (0, 2, 4, 6, 7)
"""Places of the linear layers in LAION's aesthetic predictor v2; the others are dropouts."""


@dataclass(frozen=True)
class Affine:
    """x ↦ weight · x + bias; `weight` is float32 of shape (d,)."""

    weight: torch.Tensor
    bias: float

    def __call__(self, embeddings: torch.Tensor) -> torch.Tensor:
        """(n, d) float32 to (n,)."""
        return embeddings @ self.weight + self.bias


def affine_head(state: State) -> Affine:
    """The head of a checkpoint with `weight` and `bias` alone, or with the five layers of LAION's aesthetic predictor
    v2, between which there is no activation: multiplied out in float64. WeightsError for other keys or shapes."""
    names = [""] if "weight" in state else [f"layers.{place}." for place in _LAION_LAYERS]
    if state.keys() != {f"{name}{kind}" for name in names for kind in ("weight", "bias")}:
        raise _no_head(f"its keys are {', '.join(sorted(state)[:12])}")
    try:
        weight, bias = state[f"{names[0]}weight"].double(), state[f"{names[0]}bias"].double()
        for name in names[1:]:
            following = state[f"{name}weight"].double()
            weight, bias = following @ weight, following @ bias + state[f"{name}bias"].double()
    except RuntimeError as error:
        raise _no_head("its layers do not follow on each other") from error
    if weight.ndim != 2 or len(weight) != 1 or bias.shape != (1,):
        raise _no_head(f"it gives {tuple(bias.shape)} numbers, not one")
    return Affine(weight[0].float(), float(bias))


def _no_head(why: str) -> WeightsError:
    return WeightsError(
        f"the weights are no linear head: {why}", code="weights-mismatch", hint="check that it is the authors' file"
    )
