"""Trains every model that Toyworld ships, measures each on held-out toy data, and writes the card.

    python -m training.toyworld.make_models [--out FOLDER] [--only vae,clip,preference,denoiser]

About an hour on two cores. Seeds are fixed; floating-point differences between machines still move the last digits.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.denormals import denormals_flushed
from training.toyworld.making.card import write_card
from training.toyworld.making.clip import train_aesthetic, train_clip
from training.toyworld.making.denoiser import train_denoiser
from training.toyworld.making.preference import train_preference
from training.toyworld.making.vae import train_vae

WEIGHTS = Path(__file__).parent / "weights"
STAGES = ("vae", "clip", "aesthetic", "preference", "denoiser")
MOST_BYTES = 12_000_000


def make_models(out: Path, only: tuple[str, ...] = STAGES) -> None:
    """Train the named models into `out`; the others must be there already. Measurements go to `out/measured.json`."""
    out.mkdir(parents=True, exist_ok=True)
    stages: dict[str, Callable[[], dict[str, Any]]] = {
        "vae": lambda: train_vae(out / "pipeline" / "vae"),
        "clip": lambda: train_clip(out / "clip"),
        "aesthetic": lambda: train_aesthetic(out / "clip", out / "aesthetic"),
        "preference": lambda: train_preference(out / "clip", out / "preference"),
        "denoiser": lambda: _denoiser(out / "pipeline"),
    }
    record = out / "measured.json"
    measured: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    for name in STAGES:
        if name in only:
            with denormals_flushed():  # tiny gradients end as such
                measured[name] = stages[name]()
            measured["made_with"] = {"torch": torch.__version__, "machine": platform.machine()}
            record.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n")
    size = sum(path.stat().st_size for path in out.rglob("*.safetensors"))
    if size > MOST_BYTES:
        raise SystemExit(f"the models take {size:,} bytes, more than the {MOST_BYTES:,} that the package may ship")
    write_card(out, measured, size)


def _denoiser(pipeline: Path) -> dict[str, Any]:
    """The pipeline is written beside the VAE it was trained on, then takes its place."""
    with tempfile.TemporaryDirectory(dir=pipeline.parent) as scratch:
        measured = train_denoiser(pipeline / "vae", Path(scratch) / "pipeline")
        shutil.rmtree(pipeline)
        (Path(scratch) / "pipeline").rename(pipeline)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--only", default=",".join(STAGES), help="stages by comma")
    arguments = parser.parse_args()
    chosen = tuple(arguments.only.split(","))
    unknown = [name for name in chosen if name not in STAGES]
    if unknown:
        parser.error(f"unknown stage {unknown[0]!r}; choose from {', '.join(STAGES)}")
    make_models(arguments.out, chosen)


if __name__ == "__main__":
    main()
