"""Implicit-reward accuracy: does a tuned model denoise the better image of a pair it was not trained on relatively
better than its reference does? Draws no picture and trains nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ranking import duck
from ranking.datasets import get_dataset
from ranking.errors import UsageError
from ranking.features.pairs import PairTable
from ranking.store.blobs import Store
from ranking.store.snapshots import get_snapshot
from ranking.subsets.catalog import Subset, get_subset, subset_pairs
from ranking.subsets.foreign import ForeignSubset, foreign_pairs
from training.blocks import HeldOutConfig
from training.config import TrainConfig
from training.data.material import Material
from training.data.order import Visit
from training.data.pairs import PairSource, from_table
from training.evaluation.winrates import ByPrompt
from training.intervals import Estimate, Floats, effective, resampled_share
from training.losses.errors import denoising_error
from training.methods.options import Dpo
from training.models.base import DiffusionModel

BUCKETS = 5
_DRAW_SEED = 20_777  # held-out draws are the same for all runs that are compared, whatever they were trained with
_PAIRS_AT_ONCE = 16


@dataclass(frozen=True)
class Bucket:
    """Single draws whose place in time lies in [`start`, `stop`): the share that order their pair rightly."""

    start: float
    stop: float
    accuracy: Estimate


@dataclass(frozen=True)
class Implicit:
    """Of `pairs` held-out pairs of `prompts` prompts, `of` a subset or of the dataset, the share whose order the
    implicit reward has right in expectation over `draws` timesteps and noises a pair; a tie counts one half. `margin`
    is the mean reward of the winner less the loser's, in denoising error (times β/2 it is a logit); `buckets` are of
    single draws, from little noise to much. Intervals are over prompts; of a share of which no resample knows another
    (0, 1, one prompt, prompts all alike) Wilson's, as if each prompt were one trial; the margin of a single prompt has
    none (NaN)."""

    of: str
    pairs: int
    prompts: int
    draws: int
    accuracy: Estimate
    margin: Estimate
    buckets: tuple[Bucket, ...]


def implicit_accuracy(model: DiffusionModel, policy: nn.Module, material: Material, *, of: str, draws: int) -> Implicit:
    """What Diffusion-DPO calls implicit reward accuracy (Wallace et al. 2023, arXiv 2311.12908, section 5.1, there with
    10 draws). The reward of an image is −(p − r), the policy's denoising error less that of the reference, which is
    `model.denoiser`; a pair's winner and loser share time and noise.

    `material` is of pairs that neither model saw, without prompt dropout, every preference above one half.
    """
    margins, times = draw_margins(model, policy, material, draws=draws)
    by = ByPrompt.of(material.rows.prompts_of(range(len(material))))
    expected = margins.mean(1)
    buckets = []
    for number in range(BUCKETS):
        start, stop = number / BUCKETS, (number + 1) / BUCKETS
        inside = ((times >= start) & (times < stop)).astype(np.float64)
        right = by.sums((credit(margins) * inside).sum(1))
        buckets.append(Bucket(start, stop, share_over_prompts(right, by.sums(inside.sum(1)), by)))
    return Implicit(
        of=of,
        pairs=len(material),
        prompts=len(by.counts),
        draws=draws,
        accuracy=share_over_prompts(by.sums(credit(expected)), by.counts, by),
        margin=share_of_mean(expected, by),
        buckets=tuple(buckets),
    )


def share_over_prompts(right: Floats, counts: Floats, by: ByPrompt) -> Estimate:
    """The share of all `counts` (P,) that are `right` (P,), both by prompt; NaN where there is none to count."""
    if not counts.any():
        return Estimate(np.nan, np.nan, np.nan)
    picks = by.picks(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = right[picks].sum(1) / counts[picks].sum(1)
    return resampled_share(float(right.sum() / counts.sum()), drawn, effective(counts))


def share_of_mean(values: Floats, by: ByPrompt) -> Estimate:
    """The mean over N values with its interval over prompts; of a single prompt there is none (NaN)."""
    totals, picks = by.sums(values), by.picks(0)
    drawn = totals[picks].sum(1) / by.counts[picks].sum(1)
    return Estimate.of(float(values.mean()), drawn, clusters=len(by.counts))


def draw_margins(model: DiffusionModel, policy: nn.Module, material: Material, *, draws: int) -> tuple[Floats, Floats]:
    """(N, draws) margins −[(p_w − r_w) − (p_l − r_l)] of N pairs, float64, and where in time [0, 1) each lies."""
    changes, times = draw_changes(model, policy, model.denoiser, material, draws=draws)
    return changes[..., 1] - changes[..., 0], times


@torch.no_grad()
def draw_changes(
    model: DiffusionModel,
    policy: nn.Module,
    other: nn.Module,
    material: Material,
    *,
    draws: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Floats, Floats]:
    """(N, draws, 2) changes of denoising error from `other` to `policy`, float64, of N pairs' winners [..., 0] and
    losers [..., 1], and (N, draws) where in time [0, 1) each lies."""
    visits = [Visit(pair, number) for pair in range(len(material)) for number in range(draws)]
    changes, times = [], []
    for start in range(0, len(visits), _PAIRS_AT_ONCE):
        batch = material.batch(visits[start : start + _PAIRS_AT_ONCE])
        noisy = model.noised(batch.latents, batch.noise, batch.times)
        target = model.target(batch.latents, batch.noise, batch.times)
        with model.autocast():
            predictions = [
                model.predict(each, noisy, batch.times, batch.conditioning, batch.geometry) for each in (policy, other)
            ]
        after, before = (denoising_error(each, target).double() for each in predictions)
        changes.append(torch.stack((after - before).chunk(2), dim=1).cpu().numpy())
        times.append(batch.uniform.cpu().numpy())
        if progress is not None:
            progress(min(start + _PAIRS_AT_ONCE, len(visits)), len(visits))
    shape = (len(material), draws)
    together = np.concatenate(changes).reshape(*shape, 2)
    return together, np.concatenate(times).astype(np.float64).reshape(shape)


def held_out_config(config: TrainConfig) -> TrainConfig:
    """The config that held-out pairs are looked at with, whatever trained the run: squares of its resolution, both
    images of a pair, no chance but time and noise."""
    data = config.data.model_copy(
        update={"prompt_dropout": 0.0, "flip": False, "crop": "centre", "buckets": False, "ties": "drop"}
    )
    cache = config.cache.model_copy(update={"reference_draws": None})
    changes = {"data": data, "cache": cache, "method": Dpo(), "seed": _DRAW_SEED}
    return config.model_copy(update=changes)


def held_out_pairs(store: Store, subset: Subset | ForeignSubset, held_out: HeldOutConfig) -> PairSource:
    """At most `held_out.pairs` decided pairs, of another subset or of the dataset's prompts that `subset` does not
    have, those whose ids hash lowest.

    Raises UsageError where there are none, where the other subset shares a pair with this one, or where this store has
    not the dataset whose other prompts are asked for.
    """
    other = None if held_out.subset is None else get_subset(store, held_out.subset)
    if isinstance(subset, Subset):
        trained = subset_pairs(store, subset)
    elif other is not None:
        trained = foreign_pairs(store, subset)
    else:
        raise UsageError(
            f"which prompts of {subset.dataset} are outside {subset.ref} only its own store knows",
            hint="set evaluation.held_out.subset to a subset of this store, or evaluation.held_out to null",
        )
    with duck.connect() as con:
        con.register("trained", trained)
        if other is not None:
            con.register("candidates", subset_pairs(store, other))
            shared = con.execute("SELECT count(*) FROM candidates JOIN trained USING (pair_id)").fetchone()
            if shared and shared[0]:
                raise UsageError(
                    f"held-out subset {other.ref} shares {shared[0]} pairs with {subset.ref}, which was trained on",
                    hint="choose a subset of other pairs",
                )
            found = duck.arrow(con, _CHOSEN.format(of="candidates", limit=held_out.pairs))
        elif isinstance(subset, Subset):
            snapshot = get_snapshot(store, subset.snapshot.n)
            table = PairTable(store, snapshot, subset.dataset)
            con.execute(f"CREATE VIEW wide AS FROM {duck.parquet_scan([table.path])}")
            found = duck.arrow(con, _CHOSEN.format(of=f"({_UNSEEN})", limit=held_out.pairs))
    of = other.ref if other is not None else f"{subset.dataset}, prompts outside {subset.ref}"
    if not len(found):
        raise UsageError(
            f"there are no held-out pairs: every prompt of {subset.dataset} is in {subset.ref}"
            if other is None
            else f"subset {other.ref} has no decided pair",
            hint="name a subset of pairs that were not trained on",
        )
    return from_table(store, get_dataset(store, subset.dataset if other is None else other.dataset), found, ref=of)


_UNSEEN = """SELECT pair_id, prompt, 1.0::FLOAT AS preference,
        CASE winner WHEN 0 THEN image_0_uid ELSE image_1_uid END AS winner_uid,
        CASE winner WHEN 0 THEN image_1_uid ELSE image_0_uid END AS loser_uid
    FROM wide WHERE winner IS NOT NULL AND prompt_id NOT IN (SELECT prompt_id FROM trained)"""
_CHOSEN = """SELECT pair_id, prompt, winner_uid, loser_uid, 1.0::FLOAT AS preference, 1.0::FLOAT AS weight
    FROM {of} WHERE preference > 0.5 ORDER BY sha256(pair_id) LIMIT {limit}"""


def credit(margins: Floats) -> Floats:
    """1 for what is above 0, ½ for 0 itself, 0 below."""
    return np.where(margins > 0, 1.0, np.where(margins < 0, 0.0, 0.5))
