"""Which pairs a run trains on and of what shape each is, before anything is encoded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ranking.errors import PairsieveError, UsageError
from training.config import TrainConfig
from training.data.buckets import Buckets, assign, bucket_sizes, square, step_of
from training.data.pairs import PairSource
from training.data.rows import PairRows
from training.data.survey import survey
from training.methods.needs import check_step
from training.models.base import DiffusionModel
from training.progress import Progress, silent


def refuse_early(rows: PairRows, config: TrainConfig, *, processes: int = 1) -> None:
    """UsageError, in one line, for pairs that cannot be trained on like this, before a model is loaded or a picture
    read: there is none but ties, random crops are to be kept, or a method that compares pairs has nothing to
    compare."""
    kept = settled(rows, config)
    if config.data.crop == "random" and config.cache.latents:
        raise UsageError(
            "data.crop=random cuts pictures elsewhere at every visit, so their latents cannot be kept",
            code="bad-config",
            hint="set cache.latents=false, or data.crop=centre",
        )
    check_step(config.method, pairs=config.batch * config.accumulate * processes, prompts=kept.prompts)


def settled(rows: PairRows, config: TrainConfig) -> PairRows:
    """The pairs by the config's policy for ties. UsageError where that leaves none."""
    kept = rows.without_ties() if config.data.ties == "drop" else rows
    if not len(kept):
        why = f"all its {kept.ties} pairs are ties" if kept.ties else f"{rows.taken_down} pairs were taken down"
        raise UsageError(
            f"nothing of subset {rows.ref} is left to train on: {why}",
            code="no-pairs",
            hint="set data.ties=soft, or choose another subset" if kept.ties else "choose another subset",
        )
    return kept


def prepare(
    source: PairSource,
    model: DiffusionModel,
    config: TrainConfig,
    *,
    tell: Progress = silent,
) -> tuple[PairRows, Buckets]:
    """The pairs, and the bucket of each by its winner's proportions: it is what the model is to learn to draw, so as
    little of it as can be is cut off. Where buckets are asked for, or nothing is encoded beforehand, all pictures are
    looked at (stage "look"), and pairs with one that cannot be read are left out."""
    rows = settled(source.rows, config)
    side = config.data.resolution or model.resolution
    if not config.data.buckets and config.cache.latents:
        return rows, square(len(rows), side)
    shown = rows.images
    sizes = np.zeros((len(rows.uids), 2), np.int32)
    sizes[shown] = survey(
        source.pictures,
        rows.uids.take(pa.array(shown)),
        thoroughly=not config.cache.latents,
        threads=max(1, config.data.workers),
        on_images=lambda done, total: tell("look", done, total),
    )
    usable = _both(rows, sizes[:, 0] > 0)
    kept = replace(rows.at(usable), unreadable=rows.unreadable + len(rows) - len(usable))
    if not config.data.buckets:
        return kept, square(len(kept), side)
    buckets = bucket_sizes(side, step_of(model, side))
    return kept, Buckets(buckets, assign(buckets, sizes[kept.winner]))


def usable_pairs(rows: PairRows, readable: pa.Array) -> NDArray[np.int64]:
    """Places of the pairs both of whose images are among `readable`; PairsieveError where there are none."""
    return _both(rows, pc.is_in(rows.uids, value_set=readable).to_numpy(zero_copy_only=False))


def _both(rows: PairRows, readable: NDArray[np.bool_]) -> NDArray[np.int64]:
    usable = np.flatnonzero(readable[rows.winner] & readable[rows.loser])
    if not len(usable):
        raise PairsieveError(
            f"no pair of subset {rows.ref} has two readable images",
            code="no-images",
            hint="check the sources of its dataset",
        )
    return usable
