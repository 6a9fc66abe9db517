"""Which scorers there are, and the committee that runs several of them over one batch.

Scorers come from installed packages and from the store, where they were trained. Importing this module and resolving
names loads no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image

from ranking.errors import PairsieveError, UnknownNameError, UsageError
from ranking.names import NAME
from ranking.store.blobs import Store
from ranking.trained import trained_names
from workers.scorers.base import PRECISIONS, Batch, Embed, Embeddings, Floats, ScoreBatch, ScorerSpec, View
from workers.scorers.installed import installed
from workers.scorers.runtime import Runtime, check_device, make_runtime
from workers.scorers.trained import find_trained, trained_spec, trained_specs
from workers.scorers.weights import WeightsError, missing

_PICTURES_AT_ONCE = 256


def specs(store: Store | None = None) -> dict[str, ScorerSpec]:
    """Every known scorer by name: the installed ones and, where a store is given, the newest versions of those that
    were trained into it."""
    known = installed().specs
    return known if store is None else trained_specs(store, partial(choose, store=store)) | known


def choose(wanted: str, *, store: Store | None = None) -> ScorerSpec:
    """The spec that a user names: `name`, `name:precision` or `name@fingerprint`, among the installed scorers and those
    of the store. UnknownNameError for another name, UsageError for another precision, WeightsError where no file set
    here gives that fingerprint."""
    name, _, precision = wanted.partition("@")[0].partition(":")
    again = partial(choose, store=store)
    found = specs().get(name)
    if found is None and store is not None and NAME.fullmatch(name):
        found = trained_spec(store, name, again)
    if found is None:
        problems = installed().problems
        for problem in problems:
            if problem.name == name:
                raise problem.error()
        unknown = UnknownNameError.among("scorer", name, [*specs(), *(trained_names(store) if store else ())])
        # It may well be the one of a package that could not be read.
        unread = "".join(f"; not used: {problem.text}" for problem in problems if problem.name is None)
        raise UnknownNameError(unknown.message, hint=unknown.hint + unread)
    spec = found
    if "@" not in wanted:
        return spec.at(precision) if precision else spec
    here = [spec.at(word) for word in spec.precisions] if spec.assets else [spec]
    for each in here:
        if each.scorer_id == wanted:
            return each
    trained = find_trained(store, wanted, again) if store is not None else None
    if trained is not None:
        return trained
    raise WeightsError(
        f"scorer {name} is {here[0].scorer_id} here, not {wanted}: other weights, options or code",
        code="other-scorer",
        hint="plan again with the scorers that are installed here, or install those of the plan",
    )


def resolve(names: Sequence[str], *, store: Store | None = None) -> dict[str, str]:
    """Scorer ids (`name@fingerprint`) by name, for names with or without a precision. Raises UnknownNameError,
    WeightsError for files that are missing or not the pinned ones, and UsageError for one scorer in two precisions."""
    chosen: dict[str, ScorerSpec] = {}
    for wanted in names:
        spec = choose(wanted, store=store)
        if spec.missing:
            raise missing(spec.missing[0], spec.name)
        if chosen.setdefault(spec.name, spec).precision != spec.precision:
            raise UsageError(
                f"scorer {spec.name} is named in two precisions", hint="name it once; score twice for both"
            )
    return {name: spec.scorer_id for name, spec in chosen.items()}


def in_precision(names: Sequence[str], precision: str, *, store: Store | None = None) -> list[str]:
    """The names, with "fp32", "bf16" or "fp16" at those that have weights and name no precision themselves. UsageError
    for another word."""
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}", hint="take one of those")
    weighted = [name for name in names if ":" not in name and choose(name, store=store).assets]
    return [f"{name}:{precision}" if name in weighted else name for name in names]


@dataclass(frozen=True)
class Committee:
    """Loaded scorers that share decoding and towers."""

    specs: dict[str, ScorerSpec]
    _members: dict[str, ScoreBatch]
    _embedders: dict[str, Embed]
    runtime: Runtime = field(default_factory=Runtime)

    @property
    def batch(self) -> int:
        """How many images suit its device at once."""
        return self.runtime.part

    @property
    def device(self) -> str:
        """Where it runs, as torch names it."""
        return self.runtime.device

    def precision_of(self, scorer_id: str) -> str:
        """What a scorer's towers run in, as torch names it."""
        return self.specs[scorer_id].precision

    def golden_of(self, scorer_id: str) -> tuple[float, ...]:
        """What a scorer should give for the golden pairs; empty where its spec does not say."""
        return self.specs[scorer_id].golden

    @property
    def scorer_ids(self) -> dict[str, str]:
        """Scorer name to scorer id."""
        return {spec.name: scorer_id for scorer_id, spec in self.specs.items()}

    def views(self, scorer_ids: Sequence[str]) -> dict[str, tuple[View, ...]]:
        """What each of these scorers sees of a picture."""
        return {scorer_id: self.specs[scorer_id].views for scorer_id in scorer_ids}

    @property
    def embedding_ids(self) -> tuple[str, ...]:
        """The embeddings that come with these scorers."""
        return tuple(self._embedders)

    def score(self, batch: Batch, scorer_ids: Sequence[str]) -> dict[str, Floats]:
        """Scores by scorer id, float32 of shape (len(batch),)."""
        return {scorer_id: self._members[scorer_id](batch) for scorer_id in scorer_ids}

    def score_pictures(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> dict[str, Floats]:
        """Scores by scorer id of pictures that are at hand: entry i belongs to image i with prompt i. ValueError
        unless there are as many of both."""
        views = tuple({view: None for spec in self.specs.values() for view in spec.views})
        scores = {scorer_id: np.zeros(len(images), np.float32) for scorer_id in self._members}
        batch = Batch.of(images, prompts, views)
        for start in range(0, len(images), _PICTURES_AT_ONCE):
            stop = min(start + _PICTURES_AT_ONCE, len(images))
            for scorer_id, values in self.score(batch.part(start, stop), list(scores)).items():
                scores[scorer_id][start:stop] = values
        return scores

    def embed(self, batch: Batch, embedding_id: str) -> Embeddings:
        """The embeddings of a batch that was scored, at no cost of their own."""
        return self._embedders[embedding_id](batch)


def load_committee(wanted: Sequence[str], device: str = "auto", *, store: Store | None = None) -> Committee:
    """Load scorers, named as for `choose`, on `device` ("auto" takes a GPU where there is one)."""
    resolve([name for name in wanted if "@" not in name], store=store)
    check_device(device)
    chosen = [choose(name, store=store) for name in wanted]
    return committee_of(chosen, make_runtime(device) if any(spec.assets for spec in chosen) else Runtime())


def committee_of(chosen: Sequence[ScorerSpec], runtime: Runtime) -> Committee:
    """Load scorers of these specs, wherever they come from."""
    members = {spec.scorer_id: _made(spec.factory, spec, runtime) for spec in chosen}
    embedders: Mapping[str, Embed] = {
        spec.embedding_id: _made(spec.embedding.factory, spec, runtime)
        for spec in chosen
        if spec.embedding is not None and spec.embedding_id is not None
    }
    return Committee({spec.scorer_id: spec for spec in chosen}, members, dict(embedders), runtime)


def _made(factory: str, spec: ScorerSpec, runtime: Runtime) -> Any:
    module, function = factory.split(":")
    try:
        make = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise PairsieveError(
            f"scorer {spec.name} cannot be loaded from {factory}: {error}",
            code="scorer-package",
            hint="install what its package needs, or another version of it",
        ) from error
    return make(spec, runtime)
