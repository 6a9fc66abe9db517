"""Diffusion-RPO: every winner of a step against every loser, weighed by how related they are. A reconstruction: its
code was never released, and its paper could not be read beyond the introduction."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from training.losses.outcome import Outcome
from training.losses.pairs import averaged, checked

Combine = Literal["sum", "concat", "image", "text"]
Normalise = Literal["rows", "both", "all"]


def combined(features: Tensor, how: Combine) -> Tensor:
    """One unit vector an image, float32 (n, D) or (n, 2D), of unit vectors (n, 2, D) of image, [:, 0], and prompt, [:,
    1].

    The cosine of two of them is: for `concat` the mean of the images' and the prompts' cosines; for `sum` that of the
    sums, in which each image also meets the other's prompt (a mean of vectors points the same way as their sum); for
    `image` and `text` the cosine of these alone.
    """
    image, text = features.detach().float().unbind(1)
    match how:
        case "sum":
            vectors = image + text
        case "concat":
            vectors = torch.cat([image, text], dim=1)
        case "image":
            vectors = image
        case "text":
            vectors = text
    return normalize(vectors, dim=1)


def contrastive_weights(winners: Tensor, losers: Tensor, *, temperature: float, normalise: Normalise) -> Tensor:
    """ω (N, N) of unit vectors (N, D): softmax of −d/τ, d_ij = 1 − cos(winner i, loser j). Non-negative, of sum N.

    Over the losers of each winner (`rows`, so that rows sum to 1), over all N² and times N (`all`), or the mean of rows
    and columns (`both`), which does not prefer winners to losers.
    """
    closeness = (winners @ losers.T - 1) / temperature
    match normalise:
        case "rows":
            return closeness.softmax(1)
        case "both":
            return (closeness.softmax(1) + closeness.softmax(0)) / 2
        case "all":
            return closeness.flatten().softmax(0).view_as(closeness) * len(closeness)


def diffusion_rpo(
    policy: Tensor,
    reference: Tensor,
    features: Tensor,
    *,
    beta: float,
    temperature: float,
    combine: Combine = "sum",
    normalise: Normalise = "rows",
    average: Literal["all", "rows"] = "all",
    rescale: bool = False,
    diagonal: float | None = None,
    preference: Tensor | None = None,
    weight: Tensor | None = None,
) -> Outcome:
    """1/N² Σ_ij −log σ(ω_ij·z_ij), z_ij = −β/2 · [(p_w − r_w)_i − (p_l − r_l)_j], ω the `contrastive_weights`.

    Gu et al. 2024 (arXiv 2406.06382), reconstructed from its abstract and from the authors' code for language models
    (Yin et al. 2024, "Relative Preference Optimization", arXiv 2402.10958): the weights stand inside the sigmoid and
    carry no gradient. Errors float32 (2N,), winners first; `features` (2N, 2, D) are frozen CLIP's unit vectors of
    images and their original prompts, not of those that were dropped for the denoiser.

    - `average` "rows": the mean over winners of the sum over losers, N times as much.
    - `rescale`: weights times N, of mean 1. Without it a logit shrinks by its weight, so that the effective β falls as
      N and τ grow.
    - `diagonal` λ: λ times the mean of the pairs' own comparisons plus 1 − λ times that of the others ("RPO-diagonal"
      there, which has no weights besides); without it they have 1/N of the mean. One pair alone is all diagonal.
    - `preference` q and `weight` w, both (N,): a comparison has the mean of its two pairs' q and the geometric mean of
      their w, so that a pair of weight 0 has no part in any. This is ours.

    One pair is Diffusion-DPO. τ → 0 gives (L_DPO + (N − 1)·ln 2) / N where each image is closest to its own pair's;
    τ → ∞ weights of 1/N. At the reference the mean over all is ln 2. The logit is that of the pairs themselves,
    unweighted; `losses` (N,) are those of the winners' rows.
    """
    checked(policy, reference)
    winner, loser = (-0.5 * beta * (policy - reference)).chunk(2)
    logit = winner[:, None] - loser[None, :]
    count = len(logit)
    of_winner, of_loser = combined(features, combine).to(logit.dtype).chunk(2)
    omega = contrastive_weights(of_winner, of_loser, temperature=temperature, normalise=normalise)
    weighed = logit * (omega * count if rescale else omega)
    losses = -logsigmoid(weighed)
    if preference is not None:
        right = (preference[:, None] + preference[None, :]) / 2
        losses = right * losses - (1 - right) * logsigmoid(-weighed)
    if weight is not None:
        losses = losses * (weight[:, None] * weight[None, :]).sqrt()
    share = torch.full_like(losses, 1 / count)
    if diagonal is not None and count > 1:
        own = torch.eye(count, dtype=losses.dtype, device=losses.device)
        share = diagonal * own + (1 - diagonal) * (1 - own) / (count - 1)
    if average == "rows":
        share = share * count
    return averaged((share * losses).sum(1), logit.diagonal(), None)
