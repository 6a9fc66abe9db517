"""Scoring Toyworld end to end, against the bare forward pass of the same towers on tensors that lie ready."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pyarrow.parquet as pq
import torch
from PIL import Image

from ranking.datasets import get_dataset
from ranking.images import ImageReader, decode_rgb
from ranking.ingest import ingest
from ranking.plan import create_plan
from ranking.store.blobs import Store
from training.toyworld.dataset import write_dataset
from training.toyworld.scorers import WEIGHTS
from workers.drive import score_here
from workers.engine.report import stages_of
from workers.scorers.registry import load_committee

NAMES = ("clip-toy", "aesthetic-toy", "preference-toy")
REPEATS = 3


def measure(folder: Path) -> dict[str, Any]:
    """Medians of three rounds; each round measures both, one after the other."""
    written = write_dataset(folder / "toy", pairs=1500, seed=0)
    committee = load_committee(NAMES, "cpu")
    loaded = [open_clip.create_model_and_transforms(f"local-dir:{WEIGHTS / name}") for name in ("clip", "preference")]
    towers = [model.eval() for model, _, _ in loaded]
    pixels, prompts = _ready(folder, written.data, loaded[0][2])
    ids = open_clip.get_tokenizer(f"local-dir:{WEIGHTS / 'clip'}")(prompts)
    whole, bare = [], []
    for turn in range(REPEATS):
        store = Store.open(folder / f"score-{turn}")
        ingest(store, written.data, "toy")
        plan = create_plan(store, "toy", committee.scorer_ids.values())
        report = score_here(store, plan, committee)
        whole.append(len(pixels) / report.elapsed)
        started = time.perf_counter()
        with torch.no_grad():
            for tower in towers:
                for start in range(0, len(pixels), 128):
                    tower.encode_image(pixels[start : start + 128])
                tower.encode_text(ids)
        bare.append(len(pixels) / (time.perf_counter() - started))
    ratios = [a / b for a, b in zip(whole, bare, strict=True)]
    return {
        "images": len(pixels),
        "end to end": f"{statistics.median(whole):,.0f} images/s",
        "bare forward": f"{statistics.median(bare):,.0f} images/s",
        "ratio": f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        "at work": ", ".join(f"{stage.name} {stage.share:.0%}" for stage in stages_of(report.reports, report.elapsed)),
    }


def _ready(
    folder: Path, data: Path, preprocess: Callable[[Image.Image], torch.Tensor]
) -> tuple[torch.Tensor, list[str]]:
    store = Store.open(folder / "ready")
    ingest(store, data, "toy")
    dataset = get_dataset(store, "toy")
    items = pq.read_table(dataset.items_paths(store), columns=["image_uid", "prompt"])
    found = ImageReader(store, dataset).read(items["image_uid"].to_pylist())
    pixels = torch.stack([preprocess(decode_rgb(data)) for data in found.values()])
    return pixels, sorted(set(items["prompt"].to_pylist()))
