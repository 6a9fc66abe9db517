"""Which scorers there are, and the committee that runs several of them over one batch.

Scorers come from `technical`, from every installed entry point of the group `pairsieve.scorers`, whose object is a
sequence of `ScorerSpec`, and from the store, where they were trained. Importing this module and resolving names loads
no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import numpy as np
from PIL import Image

from ranking.errors import PairsieveError, UnknownNameError
from ranking.names import NAME, check_name
from ranking.store.blobs import Store
from ranking.store.shards import SCORE_SHARD, kind_of_name
from ranking.trained import trained_names
from workers.scorers.base import PRECISIONS, Batch, Embed, Embeddings, Floats, ScoreBatch, ScorerSpec, View
from workers.scorers.runtime import Runtime, check_device, pick_device
from workers.scorers.trained import find_trained, trained_spec, trained_specs
from workers.scorers.weights import WeightsError

GROUP = "pairsieve.scorers"
_BUILT_IN = ("workers.scorers.technical",)
_PICTURES_AT_ONCE = 256


def specs(store: Store | None = None) -> dict[str, ScorerSpec]:
    """Every known scorer by name: the installed ones and, where a store is given, the newest versions of those that
    were trained into it. Raises PairsieveError where two packages claim one name."""
    known = installed()
    return known if store is None else trained_specs(store, partial(choose, store=store)) | known


@lru_cache(maxsize=1)
def installed() -> dict[str, ScorerSpec]:
    """The scorers of installed packages by name. Raises PairsieveError where two claim one."""
    found: dict[str, ScorerSpec] = {}
    groups = [import_module(module).SPECS for module in _BUILT_IN]
    groups += [entry.load() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)]
    for spec in (spec for group in groups for spec in group):
        check_name("scorer", spec.name)
        if kind_of_name(spec.name) is not SCORE_SHARD:
            raise PairsieveError(
                f"an installed package names a scorer {spec.name!r}, a name kept for {kind_of_name(spec.name).what}",
                code="scorer-name-taken",
                hint="uninstall it",
            )
        if spec.name in found:
            raise PairsieveError(
                f"two installed packages name a scorer {spec.name!r}",
                code="scorer-name-taken",
                hint="uninstall one of them",
            )
        found[spec.name] = spec
    return found


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
        raise UnknownNameError.among("scorer", name, [*specs(), *(trained_names(store) if store else ())])
    spec = found
    if "@" not in wanted:
        return spec.at(precision) if precision else spec
    here = [spec.at(word) for word in PRECISIONS] if spec.assets else [spec]
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
    """Scorer ids (`name@fingerprint`) by name, for names with or without a precision. Raises UnknownNameError, and
    WeightsError for files that are missing or not the pinned ones."""
    chosen = [choose(name, store=store) for name in names]
    for spec in chosen:
        if spec.missing:
            raise WeightsError(
                f"the weights of scorer {spec.name} are not on this machine: {spec.missing[0].name}",
                code="weights-missing",
                hint=f"fetch them with `pairsieve scorers pull {spec.name}`",
            )
    return {spec.name: spec.scorer_id for spec in chosen}


@dataclass(frozen=True)
class Committee:
    """Loaded scorers that share decoding and towers."""

    specs: dict[str, ScorerSpec]
    _members: dict[str, ScoreBatch]
    _embedders: dict[str, Embed]

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
    runtime = Runtime(pick_device(device) if any(spec.assets for spec in chosen) else "cpu")
    members = {spec.scorer_id: _made(spec.factory, spec, runtime) for spec in chosen}
    embedders: Mapping[str, Embed] = {
        spec.embedding_id: _made(spec.embedding.factory, spec, runtime)
        for spec in chosen
        if spec.embedding is not None and spec.embedding_id is not None
    }
    return Committee({spec.scorer_id: spec for spec in chosen}, members, dict(embedders))


def _made(factory: str, spec: ScorerSpec, runtime: Runtime) -> Any:
    module, function = factory.split(":")
    return getattr(import_module(module), function)(spec, runtime)
