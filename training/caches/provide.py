"""The material of a run's batches: what its config wants kept is filled beforehand, the rest is made when it is asked
for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranking.errors import PairsieveError
from training.caches.features import KeptFeatures, features_work
from training.caches.latents import KeptLatents, LatentsWork, latents_work
from training.caches.prompts import KeptPrompts, prompts_work
from training.caches.reference import reference_work
from training.caches.work import Work
from training.config import TrainConfig
from training.data.encoding import as_in_training, encode_texts
from training.data.fresh import FreshLatents
from training.data.looks import Looks, looks_of
from training.data.material import Material
from training.data.pairs import PairSource
from training.data.preparing import prepare, usable_pairs
from training.data.protocols import Latents, Prompts
from training.data.rows import PairRows
from training.embedding import embedding_scorer
from training.methods.needs import needs
from training.methods.options import Rpo
from training.models.base import DiffusionModel
from training.progress import Progress, silent
from workers.scorers.weights import missing


@dataclass(frozen=True)
class Round:
    """How this process goes about it: whom it tells how far it is, where in the work it begins, in [0, 1), so that the
    processes of a run share it, and who hears, before each cache is filled, what that takes (None: nobody, and nothing
    is timed)."""

    tell: Progress = silent
    turn: float = 0.0
    say: Callable[[str], None] | None = None

    def announce(self, work: Work) -> None:
        """Say what there is to do, once the room for it was looked at."""
        work.check()
        if self.say is not None:
            self.say(str(work.estimate()))


def check_features(config: TrainConfig) -> None:
    """Raise what would else be found after everything is encoded: a method's embedding that does not exist, or whose
    weights are not here."""
    if not needs(config.method).features:
        return
    assert isinstance(config.method, Rpo)
    spec = embedding_scorer(config.method.embedding, config.model)
    if spec.missing:
        raise missing(spec.missing[0], spec.name)


def load_material(
    source: PairSource, model: DiffusionModel, config: TrainConfig, *, way: Round | None = None
) -> Material:
    """Everything that batches are put together from, taken from the caches that the config has and made there where it
    is missing. `model.denoiser` is the reference as yet.

    Raises PairsieveError where no pair has two readable images, all pairs are ties, or the disk has no room.
    """
    way = way or Round()
    check_features(config)
    rows, buckets = prepare(source, model, config, tell=way.tell)
    latents: Latents
    if config.cache.latents:
        looks = looks_of(rows, buckets, config.data)
        latents, readable = _latents(looks, source, model, config, way)
        usable = usable_pairs(rows, looks.uids.filter(pa.array(readable)))
    else:
        latents = FreshLatents(source.later, model, storage=config.cache.storage, workers=config.data.workers)
        usable = np.arange(len(rows))
    kept = rows.at(usable)
    material = Material(
        model=model,
        config=config,
        rows=kept,
        buckets=buckets.at(usable),
        # Of mean 1, so that the recipe's weights move effort between pairs and leave the learning rate alone.
        weight=(kept.weight.double() / kept.weight.double().mean()).float(),
        latents=latents,
        prompts=_prompts(kept, model, config, way),
        skipped=rows.unreadable + len(rows) - len(usable),
    )
    if config.cache.reference_draws is not None and needs(config.method).reference:
        material = _with_references(material, source, way)
    if needs(config.method).features:
        material = _with_features(material, source, way)
    return material


def _latents(
    looks: Looks, source: PairSource, model: DiffusionModel, config: TrainConfig, way: Round
) -> tuple[Latents, NDArray[np.bool_]]:
    """The latents of all looks, made where they are missing; and which of `looks.uids` can be read."""
    as_in_training(model, config)
    work: LatentsWork = latents_work(looks, source, model, config)
    way.announce(work.work)
    readable = work.fill(tell=way.tell, turn=way.turn)
    return KeptLatents(work.work.shelf, source.origin), readable


def _prompts(rows: PairRows, model: DiffusionModel, config: TrainConfig, way: Round) -> Prompts:
    """The text states of the rows' prompts: kept, or else encoded whenever they are asked for."""
    as_in_training(model, config)
    storage = config.cache.storage
    if not config.cache.prompts:
        nothing = encode_texts(model, [""], storage=storage)  # of which almost every step has some
        return lambda prompts: nothing if list(prompts) == [""] else encode_texts(model, prompts, storage=storage)
    texts = rows.texts.take(pa.array(np.unique(rows.prompt))).to_pylist()
    work = prompts_work(texts, model, config)
    way.announce(work)
    work.fill(tell=way.tell, turn=way.turn)
    return KeptPrompts(work.shelf)


def _with_references(material: Material, source: PairSource, way: Round) -> Material:
    """The same with the reference's errors of its fixed draws."""
    as_in_training(material.model, material.config)
    work = reference_work(material, origin=source.origin)
    way.announce(work.work)
    work.work.fill(tell=way.tell, turn=way.turn)
    return replace(material, references=work.load())


def _with_features(material: Material, source: PairSource, way: Round) -> Material:
    """The same with what CLIP says of its images and captions."""
    method = material.config.method
    assert isinstance(method, Rpo)
    spec = embedding_scorer(method.embedding, material.config.model)
    work = features_work(material.rows, source, spec, device=material.model.device.type)
    way.announce(work)
    there = work.fill(tell=way.tell, turn=way.turn)
    if not there.all():
        raise PairsieveError(
            f"{spec.name} gives no vector for {int((~there).sum())} of the pictures and prompts of {material.rows.ref}",
            code="no-features",
            hint="their pictures could be read a moment ago; start the run again",
        )
    as_in_training(material.model, material.config)
    return replace(material, features=KeptFeatures(work.shelf, source.origin))
