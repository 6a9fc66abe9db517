"""One slice through a committee, from bytes to commits: the function behind the task, the command line and
the tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ranking.datasets import get_dataset
from ranking.errors import StoreError
from ranking.flags.purge import purge_unit
from ranking.images import ImageReader
from ranking.images.facts import FACTS_ID, ImageFacts
from ranking.images.fetch import url_fetcher
from ranking.images.thumbnails import PackWriter, pack_key
from ranking.plan import Plan, Slice, read_items
from ranking.schema import CRASH
from ranking.settings import Settings, load_settings
from ranking.store.blobs import Store
from ranking.store.commits import is_committed
from workers.engine.batcher import Decoded, batches, decode_pieces
from workers.engine.decoders import Decoders, shared_decoders
from workers.engine.decoding import Wanted
from workers.engine.embeddings import Gathered
from workers.engine.reader import one_ahead, read_pieces
from workers.engine.report import INFER, READ, WAIT, WRITE, SliceReport, Stopwatch
from workers.engine.scoring import Committee, ScorerError, score_batch, wanted_embeddings
from workers.engine.writer import Written, write_embeddings, write_facts, write_scores

log = logging.getLogger("pairsieve.engine")

_CRASHES = 0.05
"""A larger share of pictures that decoders, views or scorers cannot take is a broken one of these, not odd pictures."""


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
    decoders: Decoders | None = None,
    device: AbstractContextManager[object] | None = None,
) -> SliceReport:
    """Score every item of a slice by each of `scorer_ids` and commit each scorer on its own. Embeddings and the facts
    of its images are committed before, and a pack of thumbnails is put beside, unless the unit has them.

    `progress` gets the number of items finished since its last call. Reading, decoding and scoring run side
    by side; `device` is held while the committee works, for those who score several slices at once. Raises SourceError
    for a source that is gone, ScorerError for a scorer that fails as a whole, DecoderError where pictures cannot be
    decoded at all; then nothing is committed.
    """
    settings = settings or load_settings()
    decoders = decoders or shared_decoders(settings)
    watch = Stopwatch()
    with watch.timing(READ):
        items = read_items(store, plan, piece)
        dataset = get_dataset(store, plan.dataset, revision=plan.revision)
    reader = ImageReader(store, dataset, fetch=url_fetcher(settings))
    wanted = Wanted(
        views=tuple({view: None for views in committee.views(scorer_ids).values() for view in views}),
        facts=not is_committed(store, scorer_id=FACTS_ID, unit=piece.unit),
        thumbnails=settings.thumbnails and not store.exists(pack_key(piece.unit)),
    )
    embedded = wanted_embeddings(committee.embedding_ids, scorer_ids) if settings.embeddings else {}
    missing = [each for each in embedded if not is_committed(store, scorer_id=each, unit=piece.unit)]
    work = _Slice(items, scorer_ids, {each: embedded[each] for each in missing})
    pieces = one_ahead(read_pieces(reader, items, watch))
    coming = one_ahead(batches(decode_pieces(pieces, decoders, watch, wanted=wanted), committee.batch))
    with closing(coming), PackWriter(store) if wanted.thumbnails else nullcontext() as pack:
        while True:
            with watch.timing(WAIT):
                batch = next(coming, None)
            if batch is None:
                break
            with device or nullcontext(), watch.timing(INFER):
                done = work.score(committee, batch)
            if pack is not None:
                with watch.timing(WRITE):
                    _add_thumbnails(pack, batch)
            if progress is not None:
                progress(done)
        work.check()
        if pack is not None:
            with watch.timing(WRITE):
                _put_thumbnails(pack, piece.unit)
    with watch.timing(WRITE):
        # First what comes with the scores: a unit that has its scores is not looked at again.
        if wanted.facts:
            write_facts(store, items, work.facts, unit=piece.unit, attempt=attempt)
        for embedding_id, gathered in work.embeddings.items():
            write_embeddings(store, items, gathered, embedding_id=embedding_id, unit=piece.unit, attempt=attempt)
        written = {
            each: write_scores(
                store, items, work.scores[each], work.failed[each], scorer_id=each, unit=piece.unit, attempt=attempt
            )
            for each in scorer_ids
        }
        if pack is not None:
            purge_unit(store, dataset, piece.unit)
    _check_counts(written, items.num_rows)
    return SliceReport(
        unit=piece.unit,
        items=items.num_rows,
        images=work.images,
        failed_by={scorer_id: result.failed for scorer_id, result in written.items()},
        committed=tuple(scorer_id for scorer_id, result in written.items() if result.won),
        lost=tuple(scorer_id for scorer_id, result in written.items() if not result.won),
        seconds=watch.seconds,
        elapsed=watch.elapsed,
        constant=tuple(scorer_id for scorer_id, result in written.items() if result.constant),
        decoders=decoders.count,
    )


@dataclass
class _Slice:
    """What is known of a slice while it is scored, by the rows of its items."""

    items: pa.Table
    scorer_ids: Sequence[str]
    embedded: dict[str, str]

    def __post_init__(self) -> None:
        rows = self.items.num_rows
        self.prompts: list[str] = self.items["prompt"].to_pylist()
        self.scores: dict[str, npt.NDArray[np.float32]] = {
            each: np.full(rows, np.nan, np.float32) for each in self.scorer_ids
        }
        self.failed: dict[str, dict[int, str]] = {each: {} for each in self.scorer_ids}
        self.embeddings = {each: Gathered(self.items) for each in self.embedded}
        self.facts: dict[str, ImageFacts] = {}
        self.images = 0
        self._times = np.zeros(rows, np.int64)
        self._crashed: set[int] = set()
        self._taken, self._refused = 0, False
        self._error = ""

    def score(self, committee: Committee, batch: Sequence[Decoded]) -> int:
        """Take a batch in, and score what of it is a picture. The number of items that are done by that; ScorerError
        where too many were a crash."""
        rows: list[int] = []
        images = []
        lost: dict[int, str] = {}
        for shown, examined in batch:
            self._times[list(shown.rows)] += 1
            self._error = examined.error or self._error
            if examined.facts is not None:
                self.facts |= dict.fromkeys(shown.uids, examined.facts)
            if isinstance(examined.seen, str):
                lost |= dict.fromkeys(shown.rows, examined.seen)
            else:
                rows += shown.rows
                images += [examined.seen] * len(shown.rows)
                self.images += len(shown.uids)
        scored = score_batch(
            committee, self.scorer_ids, images, [self.prompts[row] for row in rows], embedding_ids=list(self.embedded)
        )
        failed = {each: lost | scored.failed(each, rows) for each in self.scorer_ids}
        for each in self.scorer_ids:
            self.scores[each][rows] = scored.scores[each]
            self.failed[each] |= failed[each]
        for each, gathered in self.embeddings.items():
            if each in scored.vectors:
                gathered.add(rows, scored.vectors[each])
            gathered.fail(failed[self.embedded[each]])
        crashes = [{row for row, status in each.items() if status == CRASH} for each in failed.values()]
        self._crashed = self._crashed.union(*crashes)
        self._taken += len(set(rows).difference(set.intersection(*crashes)))
        self._refused = self._refused or bool(set(rows).intersection(*crashes))
        self._error = scored.errors[-1] if scored.errors else self._error
        if len(self._crashed) > max(4, _CRASHES * self.items.num_rows):
            which = f"{len(self._crashed)} of {int(self._times.sum())} pictures" if self._taken else "every picture"
            raise ScorerError(f"the scorers failed on {which} ({self._error})")
        return len(rows) + len(lost)

    def check(self) -> None:
        """ScorerError unless every item came through once, and the scorers took any."""
        if (self._times != 1).any():
            came = int((self._times > 0).sum())
            raise ScorerError(f"the slice has {self.items.num_rows} items, but {came} came through once")
        if self._refused and not self._taken:
            raise ScorerError(f"the scorers failed on every picture ({self._error})")


def _add_thumbnails(pack: PackWriter, batch: Iterable[Decoded]) -> None:
    for shown, examined in batch:
        if examined.thumbnail is not None:
            for uid in shown.uids:
                pack.add(uid, examined.thumbnail)


def _put_thumbnails(pack: PackWriter, unit: str) -> None:
    try:
        pack.put(unit)
    except (OSError, StoreError) as error:  # they can be made again whenever somebody looks; scores are dearer
        log.warning("the thumbnails of unit %s could not be kept: %s", unit, error)


def _check_counts(written: dict[str, Written], items: int) -> None:
    for scorer_id, result in written.items():
        failed = sum(result.failed.values())
        if result.scored + failed != items:
            raise ScorerError(f"{scorer_id}: {items} items in, {result.scored} scored and {failed} failed")
