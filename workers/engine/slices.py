"""One slice through a committee, from bytes to commits: the function behind the task, the command line and
the tests."""

from collections.abc import Callable, Sequence

import numpy as np

from ranking.plan import Plan, Slice, read_items
from ranking.schema import CRASH
from ranking.store.blobs import Store
from workers.engine.decoder import decode_batches
from workers.engine.reader import one_ahead, read_pieces
from workers.engine.report import SliceReport, Stopwatch
from workers.engine.scoring import Committee, ScorerError, score_batch
from workers.engine.writer import Written, write_scores

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
) -> SliceReport:
    """Score every item of a slice by each of `scorer_ids` and commit each scorer on its own.

    `progress` gets the number of items finished since its last call. Reading, decoding and scoring run side
    by side. Raises SourceError for a source that is gone, ScorerError for a scorer that fails as a whole;
    then nothing is committed.
    """
    watch = Stopwatch()
    with watch.timing("read"):
        items = read_items(store, plan, piece)
    prompts = items["prompt"].to_pylist()
    scores = {scorer_id: np.full(items.num_rows, np.nan, np.float32) for scorer_id in scorer_ids}
    failed: dict[int, str] = {}
    images = crashed = seen = 0
    pieces = one_ahead(read_pieces(store, plan, items, watch))
    for batch in one_ahead(decode_batches(pieces, watch)):
        with watch.timing("infer"):
            part, broken = score_batch(committee, scorer_ids, batch.images, [prompts[row] for row in batch.rows])
        for scorer_id, values in part.items():
            scores[scorer_id][batch.rows] = values
        failed |= batch.failed | {batch.rows[at]: CRASH for at in broken}
        images += len({id(image) for image in batch.images})
        crashed += len(broken)
        if crashed > max(4, _CRASHES * items.num_rows):
            raise ScorerError(f"the scorers failed on {crashed} of {seen + len(batch.rows)} pictures")
        done = len(batch.rows) + len(batch.failed)
        seen += done
        if progress is not None:
            progress(done)
    if seen != items.num_rows:
        raise ScorerError(f"slice {piece.unit} has {items.num_rows} items, but {seen} came through")
    written: dict[str, Written] = {}
    for scorer_id in scorer_ids:
        with watch.timing("write"):
            written[scorer_id] = write_scores(
                store, items, scores[scorer_id], failed, scorer_id=scorer_id, unit=piece.unit, attempt=attempt
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
