"""Technical quality from pixels alone: sharpness, exposure, colourfulness and JPEG blockiness. No weights.

Each part is mapped to [0, 1], higher is better, and `technical` is their mean. These are cheap features that catch
broken images; they are no judges of art: a night scene is dark on purpose.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from workers.scorers.base import Batch, Floats, ScoreBatch, ScorerSpec, View
from workers.scorers.runtime import Runtime

PARTS = ("sharpness", "exposure", "colourfulness", "blockiness")
_BLOCK = 8


def technical(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    """The mean of the four parts, or the one part that the spec's `part` option names."""
    del runtime  # the decoder has measured them
    part = dict(spec.options).get("part")

    def score(batch: Batch) -> Floats:
        table = np.stack(batch.view(spec.views[0]))[batch.image_of]
        return table.mean(1) if part is None else table[:, PARTS.index(part)]

    return score


def measure(image: Image.Image) -> Floats:
    """The four parts of one RGB image, float32 of shape (4,), in the order of `PARTS`."""
    pixels = np.asarray(image, np.float32) / 255
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    parts = (sharpness(grey), exposure(grey), colourfulness(pixels), unblocked(grey))
    return np.array(parts, np.float32)


def sharpness(grey: Floats) -> float:
    """v / (v + 0.002), v the variance of the 4-neighbour Laplacian of luminance in [0, 1] (Pech-Pacheco 2000).

    The constant puts an ordinary photograph near one half. An image smaller than 3×3 scores 0.
    """
    if min(grey.shape) < 3:
        return 0.0
    centre = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    variance = float(laplacian.var())
    return variance / (variance + 0.002)


def exposure(grey: Floats) -> float:
    """(1 − share of clipped pixels) · (1 − |2·mean − 1|²): 1 for a mid-grey mean and no black or white clipping."""
    clipped = float(((grey <= 1 / 255) | (grey >= 254 / 255)).mean())
    return (1 - clipped) * (1 - abs(2 * float(grey.mean()) - 1) ** 2)


def colourfulness(pixels: Floats) -> float:
    """m / (m + 0.15), m = √(σ_rg² + σ_yb²) + 0.3·√(μ_rg² + μ_yb²) on RGB in [0, 1] (Hasler and Süsstrunk 2003)."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    red_green, yellow_blue = red - green, 0.5 * (red + green) - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    mean = np.hypot(red_green.mean(), yellow_blue.mean())
    value = float(spread + 0.3 * mean)
    return value / (value + 0.15)


def unblocked(grey: Floats) -> float:
    """Freedom from JPEG blocks: 1 / (1 + max(0, r − 1)), r the mean luminance step across the edges of 8×8 blocks
    over the mean step elsewhere (after Wang, Sheikh and Bovik 2002). Flat and tiny images score 1."""
    ratios = []
    for steps in (np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0)).T):
        at_edge = np.arange(1, steps.shape[1] + 1) % _BLOCK == 0
        if at_edge.any() and not at_edge.all():
            elsewhere = float(steps[:, ~at_edge].mean())
            if elsewhere > 1e-6:
                ratios.append(float(steps[:, at_edge].mean()) / elsewhere)
    return 1 / (1 + max(0.0, float(np.mean(ratios)) - 1)) if ratios else 1.0


_PARTS = View("workers.scorers.technical:measure")

SPECS = (
    ScorerSpec(
        name="technical",
        summary="mean of sharpness, exposure, colourfulness and freedom from JPEG blocks, 0 to 1",
        factory="workers.scorers.technical:technical",
        views=(_PARTS,),
        range="0 to 1",
    ),
    *(
        ScorerSpec(
            name=f"technical-{part}",
            summary=f"{part} of the pixels alone, 0 to 1",
            factory="workers.scorers.technical:technical",
            views=(_PARTS,),
            range="0 to 1",
            options=(("part", part),),
        )
        for part in PARTS
    ),
)
