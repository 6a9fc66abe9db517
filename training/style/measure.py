"""Style alignment of runs: how near their pictures of held-out prompts come to the styled ones, against their base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ranking.errors import NotFoundError
from ranking.names import canonical_json, parse_json, sha256_hex, utc_now
from ranking.runs import get_run, run_result, run_state
from ranking.store.blobs import Store
from training.blocks import EvaluationConfig
from training.config import parse_config
from training.evaluation.prompts import read_prompts
from training.evaluation.samples import Samples, draw
from training.intervals import Estimate
from training.models.base import DiffusionModel
from training.models.load import load_model
from training.progress import Progress, silent
from training.style.distances import (
    Cloud,
    Kernel,
    discrepancy,
    discrepancy_change,
    frechet_change,
    frechet_estimate,
    gaussian,
    linear,
    mean_estimate,
    numbered,
    polynomial,
)
from training.style.features import Features, load_features
from training.style.sets import PROMPTS, read_references, read_style_set
from training.style.textures import TextureNetwork, texture_network
from workers.scorers.runtime import pick_device

FID, KID, CMMD, GRAM, TEXT, PROMPT = "fid", "kid", "cmmd", "gram", "text", "prompt"
MEASURES = (FID, KID, CMMD, GRAM, TEXT, PROMPT)
"""Distances, of which less is nearer to the style; the cosine with the style's text; and, which is no style but what
one may cost, the cosine with the prompt."""
_KERNELS: dict[str, Kernel] = {KID: polynomial, CMMD: gaussian}


@dataclass(frozen=True)
class Measured:
    """One row: what was `drawn` (N pictures), each measure with its 95 % interval, and how much it moved from the
    base's, paired by prompts (None for the base itself and for what no model drew)."""

    name: str
    pictures: int
    values: dict[str, Estimate]
    change: dict[str, Estimate] | None


@dataclass(frozen=True)
class StyleReport:
    """Style alignment by row: "references" (against themselves), "originals" (the references before they were styled),
    "vae" (the references through the base's VAE, as near as its latents allow), "base", then each run. `features` and
    `texture` say which networks, weights and resizing, `references` how many pictures they are compared with."""

    style: str
    text: str
    features: str
    resize: str
    texture: str
    references: int
    prompts: int
    settings: dict[str, Any]
    rows: tuple[Measured, ...]
    created: str


@dataclass(frozen=True)
class _Side:
    """Pictures as the networks see them."""

    features: Cloud
    grams: Cloud
    cosines: dict[str, NDArray[np.float64]]


def measure(
    store: Store,
    runs: Sequence[str],
    folder: Path,
    *,
    base: str | None = None,
    settings: EvaluationConfig | None = None,
    features: str = "clip-toy",
    texture: str = "random",
    device: str = "auto",
    outputs: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> StyleReport:
    """Measure finished runs and their base on the style set in `folder`; kept beside the first run.

    `base` is the model that they are compared with, by default what the first run started from. `settings` say how
    pictures are drawn; their prompts are the set's. `outputs` has the store folders of runs that are not done yet.
    Raises NotFoundError for a run that is not done, UsageError for a folder that is no style set, WeightsError where a
    network is not on this machine.
    """
    made = read_style_set(folder)
    prompts = read_prompts(str(folder / PROMPTS))
    settings = settings or EvaluationConfig()
    drawn = {name: getattr(settings, name) for name in ("images_per_prompt", "inference_steps", "guidance", "seed")}
    folders = dict(outputs or {})
    for run in runs:
        if run not in folders:
            get_run(store, run)
            if run_state(store, run) != "done":
                raise NotFoundError(f"run {run} is not done", hint="train it first")
            folders[run] = run_result(store, run)["output"]
    configs = {run: parse_config(get_run(store, run).config, where=f"run {run}") for run in runs}
    base = base or configs[runs[0]].model
    chosen = pick_device(device)
    networks = load_features(store, features, device=chosen), texture_network(texture)
    content = [asdict(made), drawn, [networks[0].id, networks[1].id], base, [folders[run] for run in runs]]
    key = f"runs/{runs[0]}/style/{sha256_hex(canonical_json(content))[:16]}.json"
    if store.exists(key):
        return _read(store, key)

    tell = progress or silent
    referred, styled, originals = read_references(folder)
    order = numbered(prompts, referred)
    models: dict[str, DiffusionModel] = {}

    def model(name: str) -> DiffusionModel:
        if name not in models:
            models.clear()  # one at a time: at full size two do not fit
            models[name] = load_model(name, device=chosen)
        return models[name]

    def samples(name: str, output: str | None, stage: str) -> Samples:
        return draw(
            store, model(name), output, prompts, settings, on_images=lambda done, total: tell(stage, done, total)
        )

    def side(pictures: Sequence[Image.Image], shown: Sequence[str]) -> _Side:
        return _seen(pictures, shown, order, networks, made.text)

    reference = side(styled, referred)
    base_samples = samples(base, None, "base")
    before = side(base_samples.images, base_samples.prompts)
    rows = [
        _row("references", reference, reference),
        _row("originals", side(originals, referred), reference),
        _row("vae", side(_through_vae(model(base), styled), referred), reference),
        _row("base", before, reference),
    ]
    for run in runs:
        found = samples(configs[run].model, folders[run], "run")
        rows.append(_row(run, side(found.images, found.prompts), reference, before=before))
    report = StyleReport(
        style=made.style,
        text=made.text,
        features=networks[0].id,
        resize=networks[0].resize,
        texture=networks[1].id,
        references=made.references,
        prompts=len(order),
        settings=drawn,
        rows=tuple(rows),
        created=utc_now(),
    )
    store.put_if_absent(key, canonical_json(asdict(report)))
    return _read(store, key)


def _seen(
    pictures: Sequence[Image.Image],
    prompts: Sequence[str],
    order: dict[str, int],
    networks: tuple[Features, TextureNetwork],
    text: str,
) -> _Side:
    features, texture = networks
    seen = features.see(pictures, prompts, text)
    cosines = {TEXT: seen.text, PROMPT: seen.prompt}
    return _Side(
        Cloud.of(seen.vectors, prompts, order),
        Cloud.of(texture.grams(pictures), prompts, order),
        {name: values for name, values in cosines.items() if values is not None},
    )


def _row(name: str, side: _Side, reference: _Side, *, before: _Side | None = None) -> Measured:
    values = {FID: frechet_estimate(side.features, reference.features)}
    values |= {each: discrepancy(side.features, reference.features, kernel) for each, kernel in _KERNELS.items()}
    values[GRAM] = discrepancy(side.grams, reference.grams, linear)
    values |= {each: mean_estimate(found, side.features.group) for each, found in side.cosines.items()}
    change = None
    if before is not None:
        change = {FID: frechet_change(before.features, side.features, reference.features)}
        for each, kernel in _KERNELS.items():
            change[each] = discrepancy_change(before.features, side.features, reference.features, kernel)
        change[GRAM] = discrepancy_change(before.grams, side.grams, reference.grams, linear)
        for each, found in side.cosines.items():
            change[each] = mean_estimate(found - before.cosines[each], side.features.group)
    return Measured(name, len(side.features.group), values, change)


def _through_vae(model: DiffusionModel, pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """What the VAE makes of pictures that it encodes and decodes."""
    size, found = (model.resolution,) * 2, []
    for start in range(0, len(pictures), 16):
        fitted = [ImageOps.fit(each, size, Image.Resampling.BICUBIC) for each in pictures[start : start + 16]]
        pixels = torch.from_numpy(np.stack([np.asarray(each, np.float32) for each in fitted]) / 127.5 - 1)
        found += [
            Image.fromarray(each) for each in model.decode_latents(model.encode_pixels(pixels.permute(0, 3, 1, 2)))
        ]
    return found


def _read(store: Store, key: str) -> StyleReport:
    values = parse_json(store.get(key), where=key)
    rows = tuple(
        Measured(
            row["name"],
            row["pictures"],
            _estimates(row["values"]),
            None if row["change"] is None else _estimates(row["change"]),
        )
        for row in values["rows"]
    )
    return StyleReport(**values | {"rows": rows})


def _estimates(found: dict[str, dict[str, float]]) -> dict[str, Estimate]:
    return {name: Estimate(**each) for name, each in found.items()}
