"""Losses that compare all pairs of an optimiser step with one another, exactly, whatever passes through the network at
once (gradient caching, after Gao et al. 2021, arXiv 2101.06983).

Such a loss depends on the network only through one error a sample. So the loop

1. runs every forward pass of the step, without gradient where there are more than one (`accumulate` > 1);
2. takes `joined` of its passes, gathers that over the processes, and takes `joined` of those;
3. asks `objective.slopes` for the loss and d loss / d error of every sample of the step, the same on every process;
4. runs each forward pass (again, with gradient) and backpropagates `objective.carrier(passes, part)`, with those of the
   `parts` of the slopes that are its own.

The gradients are to be summed over passes and processes: where processes average theirs, multiply by their number.
With one forward pass a step its graph is still there at 4, and nothing runs twice. What is drawn for a pass must be
the same in both runs, dropout's state included.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.methods.objective import Passes


def joined(passes: Sequence[Passes]) -> Passes:
    """Several passes as one over all their pairs, in their order: all winners, then all losers.

    Detached; errors, labels and features only, since predictions are never compared between pairs.
    """

    def both(tensors: list[Tensor]) -> Tensor:
        halves = [tensor.detach().chunk(2) for tensor in tensors]
        return torch.cat([half[side] for side in (0, 1) for half in halves])

    def if_all(tensors: list[Tensor | None]) -> Tensor | None:
        there = [tensor for tensor in tensors if tensor is not None]
        return both(there) if there else None

    return Passes(
        policy=both([each.policy for each in passes]),
        reference=if_all([each.reference for each in passes]),
        preference=torch.cat([each.preference for each in passes]),
        weight=torch.cat([each.weight for each in passes]),
        features=if_all([each.features for each in passes]),
    )


def parts(slopes: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """What belongs to each of the passes that were joined: of a vector (2N,), one of (2b,) for each number of pairs b,
    in the order in which they were joined. Winners first in each."""
    winners, losers = (half.split(list(sizes)) for half in slopes.chunk(2))
    return [torch.cat(each) for each in zip(winners, losers, strict=True)]
