"""The pairs that a reward model learns from, as a snapshot and a dataset or subset give them, and the splits they are
in. Reads no image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ranking import duck
from ranking.datasets import get_dataset
from ranking.errors import PairsieveError
from ranking.features.fields import fields
from ranking.features.wide import wide_table
from ranking.names import canonical_json, sha256_hex
from ranking.query import compile_filter
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot, create_snapshot, get_snapshot
from ranking.subsets.catalog import get_subset, subset_pairs
from training.reward.config import RewardConfig
from training.reward.objective import Pairs, example_weights
from training.reward.split import SPLITS, split_of

FEWEST = 20
"""Pairs with which training, and prompts with which a test, still say something: at least these many of either."""


@dataclass(frozen=True)
class Examples:
    """n pairs of a dataset as a snapshot saw them.

    `images` and `prompts` are distinct uids and texts; `pairs` has positions in them, weights of 1. `split` is int64
    (n,), a position in SPLITS; `scores` has for each scorer of the snapshot both images' scores, float64 (n, 2), NaN
    where one is missing. `left_out` counts pairs that take no part, by reason.
    """

    dataset: str
    source: str
    snapshot: Snapshot
    pair_ids: list[str]
    images: list[str]
    prompts: list[str]
    prompt_ids: list[str]
    pairs: Pairs
    split: NDArray[np.int64]
    scores: dict[str, NDArray[np.float64]]
    left_out: dict[str, int]

    def digest(self) -> str:
        """The SHA-256 of what is learnt from: pairs, labels and splits."""
        return sha256_hex(canonical_json([self.pair_ids, self.pairs.label.tolist(), self.split.tolist()]))

    def part(self, name: str) -> NDArray[np.int64]:
        """The rows of a split."""
        return np.flatnonzero(self.split == SPLITS.index(name))

    def training(self, config: RewardConfig) -> Pairs:
        """The pairs to train on, weighed among themselves."""
        return self._weighed("training", config)

    def validation(self, config: RewardConfig) -> Pairs:
        """The pairs to stop by, weighed among themselves."""
        return self._weighed("validation", config)

    def _weighed(self, name: str, config: RewardConfig) -> Pairs:
        chosen = self.pairs.take(self.part(name))
        return replace(chosen, weight=example_weights(chosen.prompt, config.weights))

    def with_images(self, there: set[str]) -> Examples:
        """Without the pairs of which an image is not `there`, which are counted."""
        known = np.array([uid in there for uid in self.images], bool)
        keep = known[self.pairs.image_0] & known[self.pairs.image_1]
        place = np.cumsum(known) - 1
        kept = self.pairs.take(keep)
        return replace(
            self,
            pair_ids=[pair for pair, stays in zip(self.pair_ids, keep, strict=True) if stays],
            images=[uid for uid in self.images if uid in there],
            pairs=replace(kept, image_0=place[kept.image_0], image_1=place[kept.image_1]),
            split=self.split[keep],
            scores={name: values[keep] for name, values in self.scores.items()},
            left_out=self.left_out | ({"image": int((~keep).sum())} if not keep.all() else {}),
        )


def load_examples(store: Store, source: str, config: RewardConfig) -> Examples:
    """The pairs of a dataset, or of a subset NAME@V with the labels that it has, that pass the config's filter.

    Of a dataset the newest state counts, which is a snapshot of its own if need be. Raises UnknownNameError for a
    dataset, subset or field that is not there.
    """
    labels: pa.Table | None = None
    if "@" in source:
        subset = get_subset(store, source)
        snapshot, dataset = get_snapshot(store, subset.snapshot.n), subset.dataset
        labels = subset_pairs(store, subset).select(["pair_id", "winner_uid"])
    else:
        dataset = get_dataset(store, source).name
        snapshot = create_snapshot(store)
    known = fields(store, snapshot, dataset)
    condition, params = compile_filter(config.where, known)
    path = wide_table(store, snapshot, dataset)
    scorers = list(snapshot.scorers)
    sides = [duck.identifier(f"{name}.{side}") for name in scorers for side in (0, 1)]
    columns = ["pair_id", "prompt_id", "prompt", "image_0_uid", "image_1_uid", "prompt_cluster", "winner", *sides]
    with duck.connect() as con:
        query = f"SELECT {', '.join(columns)} FROM {duck.parquet_scan([path])} WHERE coalesce({condition}, false)"
        table = duck.arrow(con, query, params)
    left_out = {}
    if total := sum(part.rows for part in get_dataset(store, dataset).pairs_files) - table.num_rows:
        left_out["filter"] = total
    if labels is not None:
        rows = pc.index_in(table["pair_id"], labels["pair_id"].combine_chunks())
        table = table.filter(pc.is_valid(rows))
        chosen = labels["winner_uid"].take(rows.drop_null())
        table = table.set_column(
            table.schema.get_field_index("winner"),
            "winner",
            pc.if_else(pc.equal(table["image_0_uid"], chosen), 0, 1).cast(pa.int8()),
        )
    order = pc.sort_indices(table, [("pair_id", "ascending")])
    return _examples(table.take(order), dataset, source, snapshot, scorers, left_out, config)


def _examples(
    table: pa.Table,
    dataset: str,
    source: str,
    snapshot: Snapshot,
    scorers: list[str],
    left_out: dict[str, int],
    config: RewardConfig,
) -> Examples:
    sides = [np.array(table[f"image_{side}_uid"].to_pylist(), object) for side in (0, 1)]
    # Sorted, so that an image's position tells nothing of its side: equal scores are ranked by it.
    images, places = np.unique(np.concatenate(sides), return_inverse=True) if len(table) else ([], np.zeros(0, int))
    image_0, image_1 = np.split(np.asarray(places, np.int64), 2)
    prompts = pc.dictionary_encode(table["prompt"].combine_chunks())
    of = prompts.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    ids = table["prompt_id"].to_pylist()
    first = np.unique(of, return_index=True)[1] if len(of) else np.zeros(0, np.int64)
    winner = table["winner"].to_numpy().astype(np.float64)
    label = np.where(np.isnan(winner), 0.5, 1 - winner)
    scores = {
        name: np.stack([table[f"{name}.{side}"].to_numpy().astype(np.float64) for side in (0, 1)], 1)
        for name in scorers
    }
    return Examples(
        dataset=dataset,
        source=source,
        snapshot=snapshot,
        pair_ids=table["pair_id"].to_pylist(),
        images=list(images),
        prompts=prompts.dictionary.to_pylist(),
        prompt_ids=[ids[row] for row in first],
        pairs=Pairs(image_0, image_1, of, label, np.ones(len(label))),
        split=split_of(
            table["prompt_cluster"].to_pylist(), validation=config.validation, test=config.test, seed=config.seed
        ),
        scores=scores,
        left_out=left_out,
    )


def check_examples(examples: Examples) -> None:
    """PairsieveError where there are too few pairs in a split, or where nobody preferred anything.

    Labels that all name the same side are no flaw: some datasets put the winner first, and a score sees no side.
    """
    counts = {name: len(examples.part(name)) for name in SPLITS}
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    gone = ", ".join(f"{count} by {reason}" for reason, count in examples.left_out.items())
    if counts["training"] < FEWEST or min(counts.values()) < FEWEST // 4:
        raise PairsieveError(
            f"{examples.source} has too few pairs to train on: {told}" + (f"; left out are {gone}" if gone else ""),
            code="too-few-pairs",
            hint=f"at least {FEWEST} are needed to train on and {FEWEST // 4} of other prompts in each other split",
        )
    labels = examples.pairs.label[examples.part("training")]
    if (labels == 0.5).all():
        raise PairsieveError(
            f"all {counts['training']} training pairs of {examples.source} are ties: there is no preference to learn",
            code="one-sided-labels",
            hint="check the labels of the source, or widen `where`",
        )
