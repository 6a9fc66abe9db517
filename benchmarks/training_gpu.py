"""Training of models of full size on one GPU in bfloat16, weights random: pairs a second, the share of the device's
matrix rate, memory, and checks that the loop says there what it says on a CPU. Says so where there is no GPU.

    python -m benchmarks.training_gpu --out figures.jsonl --minutes 9     # what is in the file is not measured again
    python -m benchmarks.training_gpu --out figures.jsonl --only sdxl check/start

Each figure is a line of JSON as soon as it is there. `PAIRSIEVE_PUBLIC_SCRIPT` names a copy of diffusers'
train_diffusion_dpo.py, as for `benchmarks.training`."""

from __future__ import annotations

import argparse
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.flops import flops_of
from benchmarks.made_models import describe_made, make_model
from benchmarks.training_gpu_cases import RANK, WORKERS, Bench, cases, measure_case, peak_gb, speed
from benchmarks.training_gpu_checks import checks

_PUBLIC = {f"public/sd15/lora/b{batch}": batch for batch in (4, 8, 16)}
_PUBLIC_STEPS = 14


def names() -> list[str]:
    """Of everything, in the order in which it is measured: those that share a process and a model beside each other."""
    order = ("public/", "sd15/", "check/", "sdxl/", "optimiser/")
    found = [*_PUBLIC, *(case.name for case in cases()), *checks()]
    return sorted(found, key=lambda name: next(place for place, start in enumerate(order) if name.startswith(start)))


def measure(folder: Path) -> dict[str, Any]:
    """Everything, on the GPU that is here."""
    if not torch.cuda.is_available():
        return {"left out": "there is no GPU here"}
    out = folder / "figures.jsonl"
    run(names(), out=out, folder=folder / "work", device="cuda", tiny=False, minutes=None)
    return {name: _in_words(line) for name, line in _lines(out, _where("cuda")).items()}


def run(wanted: Sequence[str], *, out: Path, folder: Path, device: str, tiny: bool, minutes: float | None) -> None:
    """Measure what `out` does not have yet, each group of names in a process of its own: one that dies costs the figure
    that it was at. After so many `minutes` nothing more is begun."""
    end = None if minutes is None else time.time() + 60 * minutes
    if not os.environ.get("PAIRSIEVE_PUBLIC_SCRIPT"):
        wanted = [name for name in wanted if name not in _PUBLIC]
    while (left := _missing(wanted, out, device)) and (end is None or time.time() < end):
        # The public script has a process to itself, as it sets what it likes.
        group = [name for name in left if name.split("/")[0] == left[0].split("/")[0]]
        group = group[:1] if left[0] in _PUBLIC else group
        call = [sys.executable, "-m", "benchmarks.training_gpu", "--here", "--out", str(out), "--device", device]
        call += ["--folder", str(folder), *(["--tiny"] if tiny else []), *(["--until", str(end)] if end else [])]
        code = subprocess.run([*call, "--only", *group], check=False).returncode
        if code and (died := _missing(group, out, device)):
            _put(out, {"name": died[0], **_where(device), "error": f"the process ended with code {code}"})


def here(group: Sequence[str], *, out: Path, folder: Path, device: str, tiny: bool, until: float | None) -> None:
    """Measure these in this process."""
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PAIRSIEVE_CACHE"] = str(folder / "cache")
    bench = Bench(folder, device, tiny)
    by_name = {case.name: case for case in cases()}
    for name in group:
        if until is not None and time.time() > until:
            return
        started = time.perf_counter()
        bench.clear()
        try:
            if name in _PUBLIC:
                found = _public(bench, _PUBLIC[name])
            elif name in by_name:
                found = measure_case(bench, by_name[name])
            else:
                found = checks()[name](bench)
        except Exception as error:  # memory that does not suffice is a figure, too
            found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        _put(out, {"name": name, **_where(device), **found, "whole_s": round(time.perf_counter() - started, 1)})


def _public(bench: Bench, batch: int) -> dict[str, Any]:
    """The public script over the same pictures with weights of the same shape; seconds between optimiser steps."""
    script = os.environ["PAIRSIEVE_PUBLIC_SCRIPT"]
    description = describe_made(bench.folder / "configs" / "sd15", "sd15", tiny=bench.tiny)
    bench.source(description.resolution)
    _save_pipeline(bench, description)
    bench.clear()
    steps = 3 if bench.tiny else _PUBLIC_STEPS
    options = {
        "pretrained_model_name_or_path": bench.folder / "pipeline",
        "dataset_name": bench.folder / f"pairs-{description.resolution}",
        "dataset_split_name": "train",
        "cache_dir": bench.folder / "datasets",
        "resolution": description.resolution,
        "train_batch_size": min(batch, 4) if bench.tiny else batch,
        "max_train_steps": steps,
        "rank": RANK,
        "output_dir": bench.folder / "public",
        "dataloader_num_workers": 0 if bench.tiny else WORKERS,
        "mixed_precision": "bf16",
        "seed": 0,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    sys.argv = [script, *words, "--no_hflip", *(["--allow_tf32"] if bench.on_gpu else [])]
    if find_spec("wandb") is None:  # it is imported whatever one reports to
        sys.modules["wandb"] = types.ModuleType("wandb")
    ends: list[float] = []

    def tick(*_: Any) -> None:
        bench.wait()
        ends.append(time.perf_counter())

    heard = register_optimizer_step_post_hook(tick)
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        heard.remove()
    seconds = [later - earlier for earlier, later in pairwise(ends)][0 if bench.tiny else 3 :]
    middle = statistics.median(seconds)
    config = bench.config("sd15", "uncached", {"lora": {"rank": RANK}})
    flops = flops_of(config, description, side=description.resolution).of_pair(config)
    return speed(bench, int(options["train_batch_size"]) / middle, flops) | {
        "step_s": round(middle, 5),
        "step_range_s": [round(min(seconds), 5), round(max(seconds), 5)],
        "peak_gb": peak_gb(bench),
    }


def _save_pipeline(bench: Bench, description: Any) -> None:
    """As a folder that the script can load: it takes no other."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    if (bench.folder / "pipeline" / "model_index.json").exists():
        return
    model = make_model(description, device=bench.device, precision="fp32")
    StableDiffusionPipeline(
        vae=model.vae,
        text_encoder=model.parts.text_encoders[0],
        tokenizer=model.parts.tokenizers[0],
        unet=model.denoiser,
        scheduler=DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(bench.folder / "pipeline")


def table(out: Path, device: str) -> str:
    """What the file has of this device, a line for each name."""
    lines = _lines(out, _where(device))
    width = max(map(len, lines), default=0)
    return "\n".join(f"{name:<{width}}  {_in_words(line)}" for name, line in sorted(lines.items()))


def _in_words(line: dict[str, Any]) -> str:
    if "error" in line:
        return str(line["error"])
    if "pairs_per_s" not in line:
        shown = {key: value for key, value in line.items() if key not in ("name", "device", "torch")}
        return ", ".join(f"{key} {value}" for key, value in shown.items())
    sheet = "" if line["of_data_sheet"] is None else f"{line['of_data_sheet']:.1%} of the data sheet, "
    words = f"{line['pairs_per_s']:.2f} pairs/s, {sheet}{line['of_large_product']:.1%} of a large product"
    if line["peak_gb"] is not None:
        words += f", {line['peak_gb']:.1f} GB"
    if "estimated_gb" in line:
        words += f" ({line['estimated_gb']:.1f} estimated), first step {line['first_step_s']:.1f} s"
    return words


def _where(device: str) -> dict[str, str]:
    name = torch.cuda.get_device_name() if device.startswith("cuda") else device
    return {"device": name, "torch": str(torch.__version__)}


def _lines(out: Path, where: dict[str, str]) -> dict[str, dict[str, Any]]:
    """By name; the latest of each. A line that was cut off is left out."""
    found = {}
    for text in out.read_text().splitlines() if out.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if where.items() <= line.items():
            found[line["name"]] = line
    return found


def _missing(wanted: Sequence[str], out: Path, device: str) -> list[str]:
    there = _lines(out, _where(device))
    return [name for name in wanted if name not in there]


def _put(out: Path, line: dict[str, Any]) -> None:
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
    sys.stdout.write(f"{line['name']}: {_in_words(line)}\n")
    sys.stdout.flush()


def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("training-gpu.jsonl"))
    parser.add_argument("--only", nargs="*", default=[], help="names, or what they begin with")
    parser.add_argument("--minutes", type=float, help="begin nothing after so long")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="models that a CPU can pay for: does it all still run?")
    parser.add_argument("--list", action="store_true", help="names, and nothing else")
    parser.add_argument("--folder", type=Path, help="where pictures and caches lie; a temporary one unless given")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    wanted = [name for name in names() if not given.only or name.startswith(tuple(given.only))]
    if given.list:
        sys.stdout.write("\n".join(wanted) + "\n")
        return
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("there is no GPU here; --device cpu --tiny tries everything out")
    shared = {"out": given.out, "device": given.device, "tiny": given.tiny}
    if given.here:
        here(wanted, folder=given.folder, until=given.until, **shared)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(wanted, folder=given.folder or Path(folder), minutes=given.minutes, **shared)
    sys.stdout.write(f"\n{table(given.out, given.device)}\n")


if __name__ == "__main__":
    main()
