"""Executes a planned run: Diffusion-DPO of the whole UNet on one subset, committed by one marker at the end.

Every attempt writes into a folder of its own; `finish_run` names the one that counts. So a killed attempt leaves
nothing that anyone reads, and two attempts at once cost time but cannot mix.
"""

from __future__ import annotations

import copy
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.optimization import get_scheduler

from ranking.errors import PairsieveError
from ranking.runs import beat_run, finish_run, get_run, record_run_attempt, run_result, run_state
from ranking.store.blobs import Store
from ranking.store.refs import pin
from ranking.store.snapshots import get_snapshot
from ranking.subsets.catalog import get_subset
from training.config import TrainConfig, parse_config
from training.data import Pairs, batches, load_pairs
from training.losses import denoising_error, diffusion_dpo
from training.models.sd import StableDiffusion, load_model
from training.progress import Progress, silent
from workers.identity import worker_name
from workers.scorers.runtime import pick_device

_HEARTBEAT_SECONDS = 5.0


@dataclass(frozen=True)
class Step:
    """What one optimiser step measured. Errors are means per latent element; `logit` is averaged over pairs."""

    step: int
    loss: float
    implicit_accuracy: float
    logit: float
    winner_error: float
    loser_error: float
    winner_change: float
    loser_change: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True)
class RunResult:
    """What a finished run left: the store folder of its files, and its first and last numbers. Of the subset's pairs it
    saw `pairs`; of the others an image could not be read (`skipped`) or was taken down."""

    output: str
    pairs: int
    skipped: int
    steps: int
    first_loss: float
    last_loss: float
    last_implicit_accuracy: float
    seconds: float
    device: str
    model_fingerprint: str
    taken_down: int = 0


def train(
    store: Store,
    run_id: str,
    *,
    worker: str = "",
    progress: Progress | None = None,
    before_done: Callable[[str], object] | None = None,
) -> RunResult:
    """Train the planned run and return its result; a run that is done already is not trained again.

    `before_done` gets the store folder of the trained model and runs before the run counts as done, so that a run
    with an evaluation in its config is never done without one. `worker` names this process in the attempt's record.
    Raises PairsieveError where the model, the subset or its images cannot be used, or the loss stops being finite.
    """
    plan = get_run(store, run_id)
    if run_state(store, run_id) == "done":
        return RunResult(**run_result(store, run_id))
    config = parse_config(plan.config, where=f"run {run_id}")
    subset = get_subset(store, plan.subset)
    # Before anything of it is read, so that no collection retires what this run cites.
    pin(store, "training", run_id, get_snapshot(store, subset.snapshot.n), why=f"run on {subset.ref}")
    attempt = record_run_attempt(store, run_id, worker=worker or worker_name())
    tell = progress or silent
    started = time.monotonic()

    device = pick_device(config.device)
    model = load_model(config.model, device=device)
    pairs = load_pairs(
        store,
        subset,
        model,
        config.resolution or model.resolution,
        on_images=lambda done, total: tell("encode", done, total),
    )
    folder = store.tmp() / f"run-{run_id}-{attempt}"
    folder.mkdir(parents=True)
    try:
        steps = []
        with (folder / "metrics.jsonl").open("x") as file:
            beaten = -_HEARTBEAT_SECONDS
            for step in dpo_steps(model, pairs, config):
                steps.append(step)
                file.write(json.dumps(asdict(step)) + "\n")
                tell("train", step.step + 1, config.steps)
                if time.monotonic() - beaten > _HEARTBEAT_SECONDS:
                    beat_run(store, run_id)
                    beaten = time.monotonic()
        model.unet.save_pretrained(folder / "unet", safe_serialization=True, max_shard_size="4GB")  # a bucket takes 5
        output = f"runs/{run_id}/output-{attempt[:12]}"
        _place(store, folder, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = round(time.monotonic() - started, 2)
    if before_done is not None:
        before_done(output)
    result = RunResult(
        output=output,
        pairs=len(pairs),
        skipped=pairs.skipped,
        steps=len(steps),
        first_loss=steps[0].loss,
        last_loss=steps[-1].loss,
        last_implicit_accuracy=steps[-1].implicit_accuracy,
        seconds=seconds,
        device=device,
        model_fingerprint=model.fingerprint,
        taken_down=pairs.taken_down,
    )
    finish_run(store, run_id, asdict(result))
    return RunResult(**run_result(store, run_id))


def dpo_steps(model: StableDiffusion, pairs: Pairs, config: TrainConfig) -> Iterator[Step]:
    """Train `model.unet` in place against a frozen copy of itself, yielding after each optimiser step.

    Winner and loser of a pair share their timestep and their noise, and pass in one forward of 2·batch latents.
    """
    reference = copy.deepcopy(model.unet).requires_grad_(False).eval()
    # No dropout layers are active in these UNets; eval() on both keeps policy and reference equal at step 0.
    policy = model.unet.requires_grad_(True).eval()
    parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = get_scheduler("constant_with_warmup", optimiser, num_warmup_steps=config.warmup)
    order = batches(len(pairs), size=config.batch, seed=config.seed)
    draws = torch.Generator().manual_seed(config.seed + 1)
    for number in range(config.steps):
        rate = optimiser.param_groups[0]["lr"]
        sums = torch.zeros(7, dtype=torch.float64)
        for _ in range(config.accumulate):
            loss, measured = _dpo_batch(model, policy, reference, pairs, next(order), config, draws)
            (loss / config.accumulate).backward()
            sums += measured / config.accumulate
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm))
        values = [float(value) for value in sums]
        if not math.isfinite(values[0]) or not math.isfinite(norm):
            raise PairsieveError(
                f"the loss is {values[0]} and its gradient {norm} at step {number}",
                code="training-diverged",
                hint="lower learning_rate or beta",
            )
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        yield Step(number, *values, learning_rate=rate, gradient_norm=norm)
    policy.requires_grad_(False)


def _dpo_batch(
    model: StableDiffusion,
    policy: Any,
    reference: Any,
    pairs: Pairs,
    chosen: torch.Tensor,
    config: TrainConfig,
    draws: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of one batch and (loss, accuracy, logit, winner, loser, winner change, loser change)."""
    count = len(chosen)
    latents = torch.cat([pairs.latents[pairs.winner[chosen]], pairs.latents[pairs.loser[chosen]]])
    # Drawn on the CPU so that a run does not depend on the device; one draw per pair, used for both its sides.
    noise = torch.randn(latents[:count].shape, generator=draws).repeat(2, 1, 1, 1)
    timesteps = torch.randint(0, model.noise.config.num_train_timesteps, (count,), generator=draws).repeat(2)
    kept = torch.rand(count, generator=draws) >= config.prompt_dropout
    prompts = [pairs.prompts[i] if keep else "" for i, keep in zip(chosen.tolist(), kept.tolist(), strict=True)]
    latents, noise, timesteps = (t.to(model.device) for t in (latents, noise, timesteps))
    words = model.encode_prompts(prompts).repeat(2, 1, 1)
    noisy = model.noise.add_noise(latents, noise, timesteps)
    target = model.target(latents, noise, timesteps)
    errors = denoising_error(policy(noisy, timesteps, words).sample, target)
    with torch.no_grad():
        anchors = denoising_error(reference(noisy, timesteps, words).sample, target)
    preference, weight = (
        None if each is None else each[chosen].to(model.device) for each in (pairs.preference, pairs.weight)
    )
    outcome = diffusion_dpo(errors, anchors, beta=config.beta, preference=preference, weight=weight)
    change = (errors - anchors).detach()
    measured = torch.tensor(
        [
            float(outcome.loss.detach()),
            outcome.implicit_accuracy,
            float(outcome.logit.mean()),
            float(errors[:count].detach().mean()),
            float(errors[count:].detach().mean()),
            float(change[:count].mean()),
            float(change[count:].mean()),
        ],
        dtype=torch.float64,
    )
    return outcome.loss, measured


def _place(store: Store, folder: Path, output: str) -> None:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        store.put_file(f"{output}/{path.relative_to(folder).as_posix()}", path)
