"""What was found of models that trained on a subset, kept beside it. Evaluates nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ranking.errors import StoreError
from ranking.names import canonical_json, check_id, parse_json
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset, subset_folder


@dataclass(frozen=True)
class JudgeVerdict:
    """One judge's win rate of a run over its base, with the ends of its 95 % interval, all in [0, 1]. `circular`: the
    judge had a part in selecting the pairs."""

    judge: str
    rate: float
    low: float
    high: float
    circular: bool = False


@dataclass(frozen=True)
class Verdict:
    """One evaluation of one run on a subset: the method that trained it, for how many steps, and what judges say;
    `evaluation` is its id beside the run. `diversity` is how much the distance of images of one prompt changed,
    relative to the base's; None where nobody looked."""

    run_id: str
    evaluation: str
    method: str
    steps: int
    judges: tuple[JudgeVerdict, ...]
    diversity: float | None
    created: str


def record_verdict(store: Store, subset: Subset, verdict: Verdict) -> bool:
    """Keep a verdict beside a subset; False where it was kept before."""
    return store.put_if_absent(_key(subset, verdict.run_id, verdict.evaluation), canonical_json(asdict(verdict)))


def read_verdicts(store: Store, subset: Subset) -> list[Verdict]:
    """Every verdict on a subset, oldest first; StoreError for a record that does not read."""
    found = [_read(store, key) for key in store.list(f"{subset_folder(subset.name, subset.version)}/verdicts")]
    return sorted(found, key=lambda verdict: (verdict.created, verdict.run_id, verdict.evaluation))


def _read(store: Store, key: str) -> Verdict:
    record = parse_json(store.get(key), where=key)
    try:
        judges = tuple(JudgeVerdict(**judge) for judge in record["judges"])
        return Verdict(**record | {"judges": judges})
    except (KeyError, TypeError) as error:
        raise StoreError(f"{key} does not read as a verdict", code="damaged", hint="remove it") from error


def _key(subset: Subset, run_id: str, evaluation: str) -> str:
    name = f"{check_id('run', run_id)}-{check_id('evaluation', evaluation)}"
    return f"{subset_folder(subset.name, subset.version)}/verdicts/{name}.json"
