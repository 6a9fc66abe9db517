"""What a run's config asks for of the caches: filled, and given as what batches are put together from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.caches.encoding import encode_texts
from training.caches.latents import KeptLatents, LatentsWork, latents_work
from training.caches.prompts import KeptPrompts, prompts_work
from training.caches.reference import reference_work
from training.caches.work import Work
from training.config import TrainConfig
from training.data.looks import Looks
from training.data.pairs import PairSource
from training.data.protocols import Latents, Prompts
from training.data.rows import PairRows
from training.models.base import DiffusionModel
from training.progress import Progress, silent

if TYPE_CHECKING:
    from training.data.material import Material


@dataclass(frozen=True)
class Round:
    """How this process goes about it: whom it tells how far it is, and where in the work it begins, in [0, 1), so that
    the processes of a run share it."""

    tell: Progress = silent
    turn: float = 0.0


def provide_latents(
    looks: Looks, source: PairSource, model: DiffusionModel, config: TrainConfig, *, way: Round
) -> tuple[Latents, NDArray[np.bool_]]:
    """The latents of all looks, made where they are missing; and which of `looks.uids` can be read."""
    work: LatentsWork = latents_work(looks, source, model, storage=config.cache.storage)
    readable = work.fill(tell=way.tell, turn=way.turn)
    return KeptLatents(work.work.shelf, source.origin), readable


def provide_prompts(rows: PairRows, model: DiffusionModel, config: TrainConfig, *, way: Round) -> Prompts:
    """The text states of the rows' prompts: kept, or else encoded whenever they are asked for."""
    storage = config.cache.storage
    if not config.cache.prompts:
        return lambda prompts: encode_texts(model, prompts, storage=storage)
    work = prompts_of(rows, model, config)
    work.fill(tell=way.tell, turn=way.turn)
    return KeptPrompts(work.shelf)


def with_references(material: Material, source: PairSource, *, way: Round) -> Material:
    """The same with the reference's errors of its fixed draws."""
    work = reference_work(material, origin=source.origin)
    work.work.fill(tell=way.tell, turn=way.turn)
    return replace(material, references=work.load())


def prompts_of(rows: PairRows, model: DiffusionModel, config: TrainConfig) -> Work:
    """The work on the prompts that these pairs have."""
    used = rows.texts.take(pa.array(np.unique(rows.prompt)))
    return prompts_work(used.to_pylist(), model, storage=config.cache.storage)
