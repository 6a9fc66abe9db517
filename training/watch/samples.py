"""Pictures drawn while a model trains: the same prompts and seeds each time, so that one sees what changes. They follow
from the weights alone; the training's own draws do not notice."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from ranking.names import check_id, utc_now
from ranking.store.blobs import Store
from training.blocks import SampleConfig
from training.models.base import DiffusionModel

_PROMPTS: Final = 4
_LOSSLESS_SIDE: Final = 128
_GAP: Final = 8
_LINE: Final = 15
_LETTER: Final = 7  # pixels of a letter, about: enough to wrap by


@dataclass(frozen=True)
class Grid:
    """What was drawn before step `step`: `images` uint8 (N, H, W, 3) in the order of `prompts`, `each` of a prompt one
    after the other, and the seed of each."""

    step: int
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    images: NDArray[np.uint8]
    each: int


def is_due(config: SampleConfig, step: int, *, steps: int) -> bool:
    """Whether a grid is drawn before this step: at 0, at every multiple of `every`, and after the last."""
    return step % config.every == 0 or step == steps


def images_drawn(config: SampleConfig, *, steps: int) -> int:
    """How many images all grids of a run come to."""
    grids = len({*range(0, steps, config.every), steps})
    return grids * (len(config.prompts) or _PROMPTS) * config.images_per_prompt


def prompts_of(config: SampleConfig, captions: Sequence[str]) -> list[str]:
    """The config's prompts, or else the first four different ones of `captions`."""
    return list(config.prompts) or list(dict.fromkeys(caption for caption in captions if caption))[:_PROMPTS]


def draw_grid(
    model: DiffusionModel, denoiser: nn.Module, config: SampleConfig, *, prompts: Sequence[str], step: int
) -> Grid:
    """The grid of a step; an image depends on the denoiser, its prompt and its seed alone. Dropout of adapters is off
    meanwhile, and on again afterwards."""
    each = config.images_per_prompt
    repeated = [prompt for prompt in prompts for _ in range(each)]
    seeds = [config.seed + place for place in range(len(repeated))]
    dropping = [module for module in denoiser.modules() if module.training]
    try:
        denoiser.eval()
        images = model.sample(denoiser, repeated, seeds, steps=config.inference_steps, guidance=config.guidance)
    finally:
        for module in dropping:
            module.training = True
    return Grid(step, tuple(repeated), tuple(seeds), images, each)


def samples_key(run_id: str, step: int) -> str:
    """Where the grid of a step lies in the store."""
    return f"runs/{check_id('run', run_id)}/samples/{step:010d}.parquet"


def put_grid(store: Store, run_id: str, grid: Grid) -> str:
    """Keep a grid with its run as a table of prompt, seed and image (WebP, lossless up to 128 px), unless another
    attempt has drawn this step's already. Returns its key."""
    key = samples_key(run_id, grid.step)
    table = pa.table(
        {
            "prompt": list(grid.prompts),
            "seed": list(grid.seeds),
            "image": [_webp(image) for image in grid.images],
        }
    )
    unfinished = store.tmp() / f"samples-{run_id}-{grid.step}-{utc_now()}"
    pq.write_table(table, unfinished, compression="none")
    try:
        store.put_file(key, unfinished)
    finally:
        unfinished.unlink(missing_ok=True)
    return key


def labelled(grid: Grid) -> Image.Image:
    """One picture of the grid, a row per prompt with the prompt above it, as trackers show it."""
    height, width = grid.images.shape[1:3]
    across = max(grid.each * (width + _GAP) - _GAP, 160)
    rows = [grid.prompts[at] for at in range(0, len(grid.prompts), grid.each)]
    texts = [textwrap.wrap(text, max(10, across // _LETTER))[:3] or ["(no prompt)"] for text in rows]
    tall = sum(len(text) * _LINE + height + 2 * _GAP for text in texts)
    sheet = Image.new("RGB", (across + 2 * _GAP, tall + _GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    top = _GAP
    for row, text in enumerate(texts):
        for line in text:
            pen.text((_GAP, top), line, fill="black", font=font)
            top += _LINE
        for place in range(grid.each):
            image = Image.fromarray(grid.images[row * grid.each + place])
            sheet.paste(image, (_GAP + place * (width + _GAP), top))
        top += height + 2 * _GAP
    return sheet


def _webp(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=max(pixels.shape[:2]) <= _LOSSLESS_SIDE, quality=90)
    return buffer.getvalue()
