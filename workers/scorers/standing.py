"""Whether a scorer could run on this machine as far as its files go, and under which terms."""

from __future__ import annotations

import re
from dataclasses import dataclass

from workers.scorers.base import ScorerSpec, View
from workers.scorers.weights import Asset, WeightsError, digest, located, missing

READY, MISSING, WRONG = "ready", "missing", "wrong"
_NON_COMMERCIAL = re.compile(r"\bnc\b|non-?commercial|research[- ]only|rail-m?-nc", re.IGNORECASE)


@dataclass(frozen=True)
class Standing:
    """A scorer's files: all `ready`, some `missing`, or one `wrong` (another file than its pin or lock says).

    `why` is one line, and what to do, where it is not ready; `absent` are the files to fetch, `bytes` their size
    where the registry has it.
    """

    spec: ScorerSpec
    state: str
    scorer_id: str | None
    why: str | None = None
    absent: tuple[Asset, ...] = ()

    @property
    def bytes(self) -> int | None:
        """The size of what is absent; None where no one knows."""
        sizes = [asset.bytes for asset in self.absent]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def standing(spec: ScorerSpec) -> Standing:
    """How a scorer stands here. Hashes files that were not hashed before."""
    absent = tuple(asset for asset in spec.assets if located(asset) is None)
    if absent:
        return Standing(spec, MISSING, None, str(missing(absent[0], spec.name)), absent)
    wrong: list[Asset] = []
    why = ""
    for asset in spec.assets:
        try:
            digest(asset)
        except WeightsError as error:
            wrong.append(asset)
            why = why or str(error)
    if wrong:
        return Standing(spec, WRONG, None, why, tuple(wrong))
    return Standing(spec, READY, spec.scorer_id)


def non_commercial(spec: ScorerSpec) -> bool | None:
    """Whether the licence of a scorer's code or weights forbids commercial use; None where that of weights which do
    not come with their package is not stated."""
    if _NON_COMMERCIAL.search(f"{spec.licence} {spec.weights_licence}"):
        return True
    return None if any(asset.source for asset in spec.assets) and not spec.weights_licence else False


def sees(view: View) -> str:
    """What a view shows, in words: "shortest crop 224 bicubic"."""
    name = view.make.partition(":")[2].replace("_", " ")
    return " ".join([name, *(str(value) for _, value in view.options)])
