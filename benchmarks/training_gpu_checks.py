"""What `benchmarks.training_gpu` checks on a device, by name: that the loop says there what it says on a CPU."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.training_gpu_cases import RANK, Bench
from training.blocks import LoraConfig
from training.loop.optimisers import make_optimiser
from training.loop.training import Training

Check = Callable[[Bench], dict[str, Any]]
_PROMPT = "a lighthouse in a storm, oil on canvas"
_LORA: dict[str, Any] = {"lora": LoraConfig(rank=RANK).model_dump()}


def checks() -> dict[str, Check]:
    """By name, in an order in which an early end leaves the most important ones. Each gives figures and `passed`."""
    found: dict[str, Check] = {}
    for precision in ("bf16", "fp16", "fp32"):
        for kind, changes in (("lora", _LORA), ("full", {})):
            name = f"check/start/sd15/{kind}/{'tf32' if precision == 'fp32' else precision}"
            found[name] = partial(_start, shape="sd15", changes=changes | {"precision": precision})
    found |= {
        "check/cached-latents": partial(_cached, cache="latents", most_logit=1e-3),
        "check/cached-reference": partial(_cached, cache="reference", most_logit=1e-3),
        "check/resume": _resumed,
        "check/waits": _waits,
        "check/toyworld": _toyworld,
        "check/start/sdxl/lora/bf16": partial(_start, shape="sdxl", changes=_LORA),
    }
    for shape in ("sd15", "sdxl", "sd3"):
        found[f"check/sample/{shape}"] = partial(_sampled, shape=shape)
    for kind in ("fused", "foreach", "loop", "8bit", "adafactor"):
        found[f"optimiser/sd15/{kind}"] = partial(_optimiser, kind=kind)
    return found


def _start(bench: Bench, *, shape: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Policy and reference are one network before the first step: the loss is ln 2 and every logit 0."""
    config = bench.config(shape, "latents", {"batch": 2} | changes)
    step = _training(bench, shape, config).advance()
    most = abs(step.logit) + math.sqrt(step.pairs) * step.logit_spread  # no pair's is further from 0
    apart = abs(step.loss - math.log(2))
    return {
        "loss_minus_ln2": apart,
        "most_logit": most,
        "winner_error": step.winner_error,
        "passed": apart < 1e-3 and most < 1e-3,
    }


def _cached(bench: Bench, *, cache: str, most_logit: float) -> dict[str, Any]:
    """Three steps with nothing cached and three with a cache. The first step's errors differ by no more than kernels of
    another run may: 1e-4 of themselves; its logits are 0 either way; losses after it, moved by β times rounding, by
    less than 0.02."""
    # Drawn afresh, a visit is its own draw; with one draw a pair, the first: the same while each pair is seen once.
    plain = [_training(bench, "sd15", bench.config("sd15", "uncached", {"batch": 1} | _LORA))]
    losses = [[plain[0].advance() for _ in range(3)]]
    plain.clear()
    bench.clear()
    training = _training(bench, "sd15", bench.config("sd15", cache, {"batch": 1} | _LORA))
    losses.append([training.advance() for _ in range(3)])
    before, after = losses
    errors = abs(before[0].winner_error / after[0].winner_error - 1)
    apart = max(abs(one.loss - other.loss) for one, other in zip(before, after, strict=True))
    logit = abs(after[0].logit)
    return {
        "error_apart": errors,
        "first_logit": logit,
        "losses_apart": apart,
        "passed": errors < 1e-4 and logit < most_logit and apart < 0.02,
    }


def _resumed(bench: Bench) -> dict[str, Any]:
    """A training that goes on from what another saved takes that one's next steps: the same loss at once, and within
    0.02 a step later, as sums of gradients on a GPU have no fixed order."""
    config = bench.config("sd15", "latents", {"batch": 2, "learning_rate": 1e-4} | _LORA)
    training = _training(bench, "sd15", config)
    for _ in range(2):
        training.advance()
    folder = bench.folder / "state"
    folder.mkdir(exist_ok=True)
    training.save(folder)
    wanted = [training.advance().loss for _ in range(2)]
    other = _training(bench, "sd15", config)
    other.load(folder)
    found = [other.advance().loss for _ in range(2)]
    apart = [abs(one - two) for one, two in zip(wanted, found, strict=True)]
    return {"losses_apart": apart, "passed": apart[0] < 1e-3 and apart[1] < 0.02}


def _waits(bench: Bench) -> dict[str, Any]:
    """How often the CPU waits for the device in a step of three passes: once, when what was measured comes over."""
    training = _training(bench, "sd15", bench.config("sd15", "latents", {"batch": 1, "accumulate": 3} | _LORA))
    training.advance()
    if not bench.on_gpu:
        return {"left out": "a CPU waits for no device"}
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        training.advance()
        torch.cuda.set_sync_debug_mode("default")
    waits = [f"{Path(each.filename).name}:{each.lineno}" for each in heard if "synchronizing" in str(each.message)]
    return {"waits": len(waits), "where": sorted(set(waits)), "passed": len(waits) <= 1}


def _sampled(bench: Bench, *, shape: str) -> dict[str, Any]:
    """A picture depends on its seed and not on its neighbours; seconds are those of the first, loading left out."""
    model = bench.model(shape, "bf16")
    steps = 2 if bench.tiny else 20
    started = time.perf_counter()
    alone = model.sample(model.denoiser, [_PROMPT], [7], steps=steps, guidance=5.0)
    seconds = time.perf_counter() - started
    both = model.sample(model.denoiser, [_PROMPT] * 2, [7, 8], steps=steps, guidance=5.0, batch=1)
    same, other = ((each - alone[0].astype("f4")) for each in both)
    return {
        "seconds": round(seconds, 3),
        "inference_steps": steps,
        "same_seed_apart": float(abs(same).max()),
        "other_seed_apart": float(abs(other).mean()),
        "passed": float(abs(same).max()) == 0 and float(abs(other).mean()) > 0,
    }


def _optimiser(bench: Bench, *, kind: str) -> dict[str, Any]:
    """One step over all weights of SD 1.5's denoiser, gradients of noise: the config's AdamW is the fused one."""
    denoiser = bench.model("sd15", "bf16").denoiser.requires_grad_(True)
    weights = list(denoiser.parameters())
    bench.clear()
    before = torch.cuda.memory_allocated() if bench.on_gpu else 0
    for each in weights:
        each.grad = torch.randn_like(each)
    names = {"fused": "adamw", "8bit": "adamw-8bit", "adafactor": "adafactor"}
    if kind in names:
        optimiser = make_optimiser(weights, bench.config("sd15", "latents", {"optimiser": names[kind]}))
    else:
        optimiser = torch.optim.AdamW(weights, lr=1e-6, foreach=kind == "foreach")
    optimiser.step()
    bench.wait()
    started = time.perf_counter()
    for _ in range(rounds := 2 if bench.tiny else 5):
        optimiser.step()
    bench.wait()
    taken = torch.cuda.memory_allocated() - before if bench.on_gpu else None
    return {
        "step_s": round((time.perf_counter() - started) / rounds, 5),
        "weights": sum(each.numel() for each in weights),
        "gradients_and_state_gb": None if taken is None else round(taken / 1e9, 3),
    }


def _toyworld(bench: Bench) -> dict[str, Any]:
    """The whole way by the command line, from pictures to a trained model; a second run of it has nothing to do."""
    store = bench.folder / "toyworld"
    shutil.rmtree(store, ignore_errors=True)  # of a benchmark that was cut off
    environment = os.environ | {"PAIRSIEVE_STORE": str(store / "store"), "PAIRSIEVE_CACHE": str(store / "cache")}
    steps = 2 if bench.tiny else 40

    def say(words: str) -> float:
        started = time.perf_counter()
        call = [sys.executable, "-m", "service.cli", *words.split()]
        ended = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(f"pairsieve {words}: {(ended.stderr or ended.stdout).strip()[-300:]}")
        return time.perf_counter() - started

    say(f"toyworld {store}/pictures --pairs {40 if bench.tiny else 400} --pixels 64 --seed 1")
    say(f"ingest {store}/pictures/data --dataset shapes")
    say("snapshot create")
    say("subset create any --dataset shapes --metric random --top 50%")
    train = (
        f"train --subset any --preset toyworld --set steps={steps} --set device={bench.device} --set evaluation=null"
    )
    one, first, again = (say(each) for each in (train.replace(f"steps={steps}", "steps=1"), train, train))
    return {
        "first_step_s": round(one, 2),
        "seconds": round(first, 2),
        "steps": steps,
        "again_s": round(again, 2),
        "passed": one < 15,
    }


def _training(bench: Bench, shape: str, config: Any) -> Training:
    model = bench.model(shape, config.precision)
    return Training(model, bench.material(model, config), config)
