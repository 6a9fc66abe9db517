"""GET /v1/pairs/{pair_id}/confidence: how likely a pair's label is right, and why."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from ranking.confidence.reasons import reasons
from service.api.models import ConfidenceOut, ReasonOut
from service.api.pairs import PairQuery
from service.browse import find_pair
from service.dependencies import ViewDep

router = APIRouter(prefix="/v1/pairs", tags=["pairs"])


@router.get("/{pair_id}/confidence")
def confidence(pair_id: str, view: ViewDep, query: Annotated[PairQuery, Query()]) -> ConfidenceOut:
    """How likely the rater's winner is the better image, given all scorers, other labels, the rater's record and the
    two models, and what each of these adds. It is fitted when somebody first asks, which takes up to a minute for a
    million pairs: 409 not-computed until then. A tie has no confidence (422)."""
    table, _ = find_pair(view, pair_id, dataset=query.dataset)
    table.beside.compute(["label_confidence"])
    found = reasons(table.beside.pairs, pair_id)
    assert view.number is not None, "a pair was found, so there is a snapshot"
    return ConfidenceOut(
        pair_id=found.pair_id,
        winner=found.winner,
        label_confidence=found.confidence,
        preference_0=found.preference_0,
        reasons=[ReasonOut(kind=each.kind, text=each.text, log_odds=each.log_odds) for each in found.reasons],
        snapshot=view.number,
    )
