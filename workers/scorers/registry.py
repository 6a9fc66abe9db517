"""Which scorers there are, and the committee that runs several of them over one batch.

Scorers come from `technical` and from every installed entry point of the group `pairsieve.scorers`, whose object
is a sequence of `ScorerSpec`. Importing this module and resolving names loads no model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points

import numpy as np
from PIL import Image

from ranking.errors import PairsieveError, UnknownNameError, UsageError
from ranking.names import check_name
from ranking.schema import FACTS_NAME
from workers.scorers.base import Batch, Floats, ScoreBatch, ScorerSpec

GROUP = "pairsieve.scorers"
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


@lru_cache(maxsize=1)
def specs() -> dict[str, ScorerSpec]:
    """Every known scorer by name. Raises PairsieveError where two packages claim one name."""
    found: dict[str, ScorerSpec] = {}
    groups = [import_module("workers.scorers.technical").SPECS]
    groups += [entry.load() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)]
    for spec in (spec for group in groups for spec in group):
        check_name("scorer", spec.name)
        if spec.name == FACTS_NAME:
            raise PairsieveError(
                f"an installed package names a scorer {FACTS_NAME!r}, a name kept for facts about images",
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


def resolve(names: Sequence[str]) -> dict[str, str]:
    """Scorer ids (`name@fingerprint`) by name. Raises UnknownNameError, and PairsieveError for missing weights."""
    known = specs()
    ids = {}
    for name in names:
        if name not in known:
            raise UnknownNameError.among("scorer", name, known)
        spec = known[name]
        if spec.missing:
            raise PairsieveError(
                f"the weights of scorer {name!r} are not at {spec.missing[0]}",
                code="weights-missing",
                hint="reinstall the package that brings them",
            )
        ids[name] = spec.scorer_id
    return ids


@dataclass(frozen=True)
class Committee:
    """Loaded scorers that share decoding and towers."""

    scorer_ids: dict[str, str]
    _members: dict[str, ScoreBatch]

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> dict[str, Floats]:
        """Scores by scorer id, float32 of shape (n,): entry i belongs to image i with prompt i."""
        if not images:
            return {scorer_id: np.zeros(0, np.float32) for scorer_id in self._members}
        batch = Batch(images, prompts)
        return {scorer_id: member(batch) for scorer_id, member in self._members.items()}


def load_committee(names: Sequence[str], device: str = "auto") -> Committee:
    """Load the named scorers on `device` ("auto" takes a GPU where there is one)."""
    ids = resolve(names)
    check_device(device)
    chosen = pick_device(device) if any(specs()[name].tower for name in names) else "cpu"
    members = {}
    for name, scorer_id in ids.items():
        module, function = specs()[name].factory.split(":")
        members[scorer_id] = getattr(import_module(module), function)(specs()[name], chosen)
    return Committee(scorer_ids=ids, _members=members)


def check_device(device: str) -> str:
    """`device` itself if it reads like a torch device; UsageError if not. Loads no torch."""
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"the device {device!r} is none of auto, cpu, cuda, cuda:1, mps", hint="use --device auto")
    return device


def pick_device(device: str) -> str:
    """A torch device name; "auto" is cuda, then mps, then cpu. UsageError for a name that is none, PairsieveError for
    a device that is not here."""
    check_device(device)
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise PairsieveError(
            f"the device {device!r} cannot be used here",
            code="device-unavailable",
            hint="use --device auto or --device cpu",
        ) from error
    return device
