"""What each scorer gave for the golden pairs where it first ran: one record a scorer, written once. Computes none."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ranking.errors import StoreError
from ranking.names import canonical_json, check_scorer_id, parse_json
from ranking.store.blobs import Store

FOLDER = "canaries"


@dataclass(frozen=True)
class Canary:
    """The scores of the golden pairs, in their order, and where they come from: a torch device, a worker's name, and
    versions by package."""

    scorer_id: str
    scores: tuple[float, ...]
    device: str
    worker: str
    versions: Mapping[str, str]
    created: str


def canary_key(scorer_id: str) -> str:
    """Where the record of a scorer is."""
    return f"{FOLDER}/{check_scorer_id(scorer_id)}.json"


def first_canary(store: Store, canary: Canary) -> Canary:
    """The record of a scorer: this one, unless there is an older one."""
    store.put_if_absent(canary_key(canary.scorer_id), canonical_json(asdict(canary)))
    return get_canary(store, canary.scorer_id)


def get_canary(store: Store, scorer_id: str) -> Canary:
    """What a scorer gave first; NotFoundError if it has run nowhere, StoreError if the record does not read."""
    key = canary_key(scorer_id)
    value = parse_json(store.get(key), where=key)
    try:
        found = Canary(**value)
        found = Canary(**value | {"scores": tuple(float(score) for score in found.scores)})
    except (TypeError, ValueError) as error:
        raise StoreError(f"{key} does not read as a canary", code="damaged", hint=_HINT) from error
    if found.scorer_id != scorer_id:
        raise StoreError(f"{key} names another scorer", code="damaged", hint=_HINT)
    return found


_HINT = "restore it from a copy of the store, or remove it: the next process that scores writes a new one"
