"""Keeps the scorers of the last slices loaded in a worker's child, because loading takes longer than
scoring."""

from collections import OrderedDict
from collections.abc import Sequence

from celery.utils.log import get_logger

from ranking.store.blobs import Store
from workers.canary import check_canary
from workers.engine import Committee
from workers.scorers.registry import load_committee

logger = get_logger(__name__)

_KEPT = 2  # a job that is nearly done asks for fewer scorers than the next one
_warm: OrderedDict[tuple[str, ...], Committee] = OrderedDict()


def committee_for(scorer_ids: Sequence[str], *, store: Store | None = None) -> Committee:
    """A committee that has these scorers, of the installed ones or the store's, loaded now unless one is warm; and then
    asked about the golden pairs, if there is a store to compare with.

    The caller compares the ids: the weights here may be others than those of the plan.
    """
    wanted = tuple(sorted(scorer_ids))
    if wanted in _warm:
        _warm.move_to_end(wanted)
        return _warm[wanted]
    while len(_warm) >= _KEPT:
        _warm.popitem(last=False)
    logger.info("Loading %s", ", ".join(wanted))
    committee: Committee = load_committee(wanted, store=store)
    if store is not None:
        check_canary(store, committee, tuple(committee.scorer_ids.values()))
    _warm[wanted] = committee
    return committee
