"""What a run is about to do, looked at before anything is spent: every mistake that can be known beforehand is one line
here, in the order in which it is cheap to know."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ranking.checkpoints import list_checkpoints
from ranking.errors import UNUSABLE, PairsieveError, UsageError
from ranking.runs import run_id_of
from ranking.settings import load_settings
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from ranking.subsets.foreign import ForeignSubset, find_subset
from training.caches.inventory import kept_bytes
from training.caches.places import readable
from training.caches.provide import check_features
from training.compiling import check_compiler
from training.config import TrainConfig
from training.data.pairs import PairSource
from training.data.preparing import refuse_early, settled
from training.data.rest import source_of
from training.data.rows import PairRows
from training.loop.budget import Budget, budget_of
from training.loop.hours import Hours, hours_of
from training.models.describe import Description, describe, meta_denoiser
from workers.scorers.runtime import pick_device


@dataclass(frozen=True)
class Intent:
    """A run that nothing speaks against: its subset's record, its pairs with their pictures, the model's shapes, and
    what it will cost. `rows` are the pairs by the config's policy for ties."""

    config: TrainConfig
    subset: Subset
    url: str | None
    source: PairSource
    rows: PairRows
    description: Description
    device: str
    budget: Budget


def look(store: Store, ref: str, config: TrainConfig) -> Intent:
    """Look at subset, pairs, the method's embedding, evaluation, packages, model, device and disk, in this order. No
    weight is read, and no picture.

    Raises PairsieveError, mostly UsageError, in one line that says what to do.
    """
    found = find_subset(store, ref)
    subset, url = (found.subset, found.url) if isinstance(found, ForeignSubset) else (found, None)
    source = source_of(store, found)
    refuse_early(source.rows, config, processes=config.processes)
    rows = settled(source.rows, config)
    check_features(config)
    check_evaluation(store, config, found)
    check_packages(config)
    description = describe(config.model, vae=config.vae)
    check_model(description, config)
    device = pick_device(config.device)
    if config.compile:
        check_compiler(device)
    budget = budget_of(config, rows, description, device=device)
    check_room(store, budget, config, run_id=run_id_of(found.ref, config.model_dump(mode="json")))
    return Intent(config, subset, url, source, rows, description, device, budget)


def expected_hours(intent: Intent) -> Hours | None:
    """How long the run will take, from a trial on its device; None where the device has no room for one now."""
    from training.evaluation.prompts import read_prompts

    wanted = intent.config.evaluation
    return hours_of(
        intent.config,
        intent.rows,
        intent.description,
        device=intent.device,
        side=intent.budget.resolution,
        drawn=len(read_prompts(wanted.prompts)) * wanted.images_per_prompt if wanted is not None else 0,
    )


def check_evaluation(store: Store, config: TrainConfig, subset: Subset | ForeignSubset) -> None:
    """That what compares the run with its base is there: prompts to read, judges to ask, and held-out pairs."""
    if config.evaluation is None:
        return
    from training.evaluation.implicit import held_out_pairs
    from training.evaluation.judging import ORACLE
    from training.evaluation.prompts import read_prompts
    from training.evaluation.run import check_settings
    from workers.scorers.registry import resolve

    read_prompts(config.evaluation.prompts)
    resolve([judge for judge in config.evaluation.judges if judge != ORACLE], store=store)
    check_settings(store, config.evaluation)
    if config.evaluation.held_out is not None:
        held_out_pairs(store, subset, config.evaluation.held_out)


def check_packages(config: TrainConfig) -> None:
    """That what the config names is installed."""
    wanted = (
        ("bitsandbytes", config.optimiser == "adamw-8bit", "optimiser is adamw-8bit", "pip install bitsandbytes"),
        ("wandb", config.watch.wandb is not None, "watch.wandb is set", "pip install 'pairsieve[wandb]'"),
        ("trackio", config.watch.trackio is not None, "watch.trackio is set", "pip install 'pairsieve[trackio]'"),
    )
    for package, asked, why, how in wanted:
        if asked and find_spec(package) is None:
            raise UsageError(f"{why}, and {package} is not installed", code="package-missing", hint=how)


def check_model(description: Description, config: TrainConfig) -> None:
    """That the config fits the model."""
    if description.family == "sd" and config.data.empty_prompt == "zeros" and config.data.prompt_dropout:
        raise UsageError(
            f"data.empty_prompt is zeros, and {description.name} samples with the encoded empty prompt",
            hint="set data.empty_prompt to encoded; zeros are for SDXL",
        )
    side = config.data.resolution
    if side is not None and side % description.multiple:
        below = max(1, side // description.multiple) * description.multiple
        raise UsageError(
            f"data.resolution is {side}, and {description.name} draws multiples of {description.multiple} pixels",
            hint=f"set it to {below} or {below + description.multiple}",
        )
    if config.lora is not None:
        from training.models.lora import check_targets

        check_targets(meta_denoiser(description.family, description.configs[description.part]), config.lora.targets)


def check_room(store: Store, budget: Budget, config: TrainConfig, *, run_id: str) -> None:
    """That checkpoints, the model and caches fit on their disks as they are now, together where they share one. What
    the run has put aside already, and the caches that this model has, count as there; what they lack exactly is known,
    and looked at again, before each is filled."""
    put_aside = sum(each.bytes for each in list_checkpoints(store, run_id))
    kept = max(0, budget.disk.checkpoints - put_aside) + budget.disk.model
    cached = max(0, budget.disk.caches - kept_bytes(config.model))
    ours, caches = _existing(store.tmp()), _existing(load_settings().cache)
    if ours.stat().st_dev == caches.stat().st_dev:
        wanted = [(ours, kept + cached, "checkpoints, the model and caches")]
    else:
        wanted = [(ours, kept, "checkpoints and the model"), (caches, cached, "caches")]
    for folder, needed, what in wanted:
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise PairsieveError(
                f"{what} take about {readable(needed)}, and {folder} has room for {readable(free)}",
                code=UNUSABLE,
                hint="make room, set PAIRSIEVE_CACHE to another disk, or cache.latents to false"
                if folder == caches and cached
                else "make room, or lower checkpoints.keep",
            )


def _existing(place: str | os.PathLike[str]) -> Path:
    """The folder, or the nearest above it that is there already."""
    folder = Path(place).expanduser().absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder
