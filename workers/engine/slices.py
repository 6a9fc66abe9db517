"""One slice through a committee, from bytes to commits: the function behind the task, the command line and
the tests."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np

from ranking.datasets import get_dataset
from ranking.errors import StoreError
from ranking.images import ImageReader
from ranking.images.facts import FACTS_ID, ImageFacts
from ranking.images.fetch import url_fetcher
from ranking.images.thumbnails import PackWriter, pack_key
from ranking.plan import Plan, Slice, read_items
from ranking.schema import CRASH
from ranking.settings import Settings, load_settings
from ranking.store.blobs import Store
from ranking.store.commits import is_committed
from workers.engine.decoder import Wanted, decode_batches
from workers.engine.reader import one_ahead, read_pieces
from workers.engine.report import SliceReport, Stopwatch
from workers.engine.scoring import Committee, ScorerError, score_batch
from workers.engine.writer import Written, write_facts, write_scores

log = logging.getLogger("pairsieve.engine")

_CRASHES = 0.05
"""A larger share of pictures that the scorers cannot take is a broken scorer or device, not odd pictures."""


def score_slice(
    store: Store,
    plan: Plan,
    piece: Slice,
    scorer_ids: Sequence[str],
    committee: Committee,
    progress: Callable[[int], None] | None = None,
    *,
    attempt: str = "",
    settings: Settings | None = None,
) -> SliceReport:
    """Score every item of a slice by each of `scorer_ids` and commit each scorer on its own. The facts of its images
    are committed before, and a pack of thumbnails is put beside, unless the unit has them.

    `progress` gets the number of items finished since its last call. Reading, decoding and scoring run side
    by side. Raises SourceError for a source that is gone, ScorerError for a scorer that fails as a whole;
    then nothing is committed.
    """
    settings = settings or load_settings()
    watch = Stopwatch()
    with watch.timing("read"):
        items = read_items(store, plan, piece)
        dataset = get_dataset(store, plan.dataset, revision=plan.revision)
    reader = ImageReader(store, dataset, fetch=url_fetcher(settings))
    wanted = Wanted(
        views=tuple({view: None for views in committee.views(scorer_ids).values() for view in views}),
        facts=not is_committed(store, scorer_id=FACTS_ID, unit=piece.unit),
        thumbnails=settings.thumbnails and not store.exists(pack_key(piece.unit)),
    )
    prompts = items["prompt"].to_pylist()
    scores = {scorer_id: np.full(items.num_rows, np.nan, np.float32) for scorer_id in scorer_ids}
    failed: dict[str, dict[int, str]] = {scorer_id: {} for scorer_id in scorer_ids}
    facts: dict[str, ImageFacts] = {}
    images = crashed = seen = 0
    pieces = one_ahead(read_pieces(reader, items, watch))
    with PackWriter(store) if wanted.thumbnails else nullcontext() as pack:
        for batch in one_ahead(decode_batches(pieces, watch, wanted=wanted)):
            with watch.timing("infer"):
                part = score_batch(committee, scorer_ids, batch.images, [prompts[row] for row in batch.rows])
            for scorer_id, values in part.scores.items():
                scores[scorer_id][batch.rows] = values
                failed[scorer_id] |= batch.failed | {batch.rows[at]: CRASH for at in part.broken}
                failed[scorer_id] |= {batch.rows[at]: status for at, status in part.unseen[scorer_id].items()}
            facts |= batch.facts
            images += len({id(image) for image in batch.images})
            crashed += len(part.broken)
            if crashed > max(4, _CRASHES * items.num_rows):
                raise ScorerError(f"the scorers failed on {crashed} of {seen + len(batch.rows)} pictures")
            if pack is not None:
                for uid, webp in batch.thumbnails.items():
                    pack.add(uid, webp)
            done = len(batch.rows) + len(batch.failed)
            seen += done
            if progress is not None:
                progress(done)
        if pack is not None and seen == items.num_rows:
            with watch.timing("write"):
                _put_thumbnails(pack, piece.unit)
    if seen != items.num_rows:
        raise ScorerError(f"slice {piece.unit} has {items.num_rows} items, but {seen} came through")
    if wanted.facts:
        with watch.timing("write"):  # first: a unit that has its scores is not looked at again
            write_facts(store, items, facts, unit=piece.unit, attempt=attempt)
    written: dict[str, Written] = {}
    for scorer_id in scorer_ids:
        with watch.timing("write"):
            written[scorer_id] = write_scores(
                store,
                items,
                scores[scorer_id],
                failed[scorer_id],
                scorer_id=scorer_id,
                unit=piece.unit,
                attempt=attempt,
            )
    return SliceReport(
        unit=piece.unit,
        items=items.num_rows,
        images=images,
        failed_by={scorer_id: result.failed for scorer_id, result in written.items()},
        committed=tuple(scorer_id for scorer_id, result in written.items() if result.won),
        lost=tuple(scorer_id for scorer_id, result in written.items() if not result.won),
        seconds=watch.seconds,
        elapsed=watch.elapsed,
    )


def _put_thumbnails(pack: PackWriter, unit: str) -> None:
    try:
        pack.put(unit)
    except (OSError, StoreError) as error:  # they can be made again whenever somebody looks; scores are dearer
        log.warning("the thumbnails of unit %s could not be kept: %s", unit, error)
