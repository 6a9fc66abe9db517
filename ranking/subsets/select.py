"""Carries a recipe out: previews the ranking of a snapshot's pairs, and keeps the best as an immutable subset."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from ranking import duck
from ranking.errors import EmptySubsetError, UsageError
from ranking.features.meanwhile import while_hashing
from ranking.features.pairs import PairTable
from ranking.names import canonical_json, sha256_file, utc_now
from ranking.schema import SUBSET_PAIRS
from ranking.store.blobs import Store
from ranking.store.parquet import write_parquet, writing
from ranking.store.snapshots import Snapshot, snapshot_key
from ranking.store.trash import settle
from ranking.subsets.catalog import SnapshotRef, Subset, get_subset, subset_folder, subset_version
from ranking.subsets.diversity import Progress
from ranking.subsets.explain import Explanation, explain_pair
from ranking.subsets.recipe import Recipe
from ranking.subsets.selection import Selection, selecting
from ranking.subsets.statistics import describe, stage_counts

RANKED: pa.Schema = pa.schema([*SUBSET_PAIRS, ("taken", pa.bool_())])
"""SUBSET_PAIRS for every eligible pair (`rank` among all of them), and whether the recipe takes it."""


def rank(
    store: Store,
    snapshot: Snapshot,
    recipe: Recipe,
    *,
    limit: int | None = None,
    table: PairTable | None = None,
    progress: Progress | None = None,
) -> pa.Table:
    """The eligible pairs, best first (RANKED schema), at most `limit` of them.

    Eligible are pairs that pass every stage (`recipe.STAGES`): `where`, flags, a winner under the recipe's labels, a
    metric and so on. Order: metric descending (ascending where the recipe takes from the bottom), then pair_id. The
    table's metadata has the counts of `stage_counts` as JSON under "stages". `table` spares hashing the wide table
    again. `progress` is told of a recipe's diversity, the one stage that may take long. Raises UnknownNameError for
    names the snapshot does not have.
    """

    def ranked(known: PairTable) -> pa.Table:
        least = known.wide.table.rows if limit is None else limit
        with selecting(known, recipe, least=least, progress=progress) as selection:
            top = "" if limit is None else f"LIMIT {int(limit)}"
            best = f"""(SELECT ordered.*, taken.place IS NOT NULL AS taken FROM ordered LEFT JOIN taken USING (place)
                        ORDER BY place {top})"""
            rows = duck.arrow(
                selection.con,
                f"""SELECT {_columns("place")}, chosen.taken FROM {best} chosen JOIN labelled pairs USING (position)
                    ORDER BY place""",
            )
            return rows.cast(RANKED).replace_schema_metadata({"stages": canonical_json(stage_counts(selection))})

    return while_hashing(table or PairTable(store, snapshot, recipe.dataset), ranked)


def explain(
    store: Store,
    snapshot: Snapshot,
    recipe: Recipe,
    *,
    pair_id: str,
    table: PairTable | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Why the recipe takes the pair or does not; NotFoundError if the dataset has no such pair."""

    def explained(known: PairTable) -> Explanation:
        with selecting(known, recipe, progress=progress) as selection:
            return explain_pair(selection, pair_id)

    return while_hashing(table or PairTable(store, snapshot, recipe.dataset), explained)


def create_subset(
    store: Store,
    recipe: Recipe,
    snapshot: Snapshot,
    *,
    table: PairTable | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Subset:
    """The subset that the recipe selects from the snapshot; the existing one if it was made before.

    Raises EmptySubsetError if that is no pair, UnknownNameError for names the snapshot does not have.
    """
    known = table or PairTable(store, snapshot, recipe.dataset)
    with writing(store, f"subset {recipe.name}") as finished:

        def written(known: PairTable) -> tuple[int, str, dict[str, Any]]:
            with selecting(known, recipe, threads=threads, progress=progress) as selection:
                rows = write_parquet(finished, SUBSET_PAIRS, _taken_pairs(selection))
                return rows, sha256_file(finished), describe(selection, finished)

        rows, sha256, statistics = while_hashing(known, written)
        spec = recipe.canonical()
        version = subset_version(spec, snapshot.sha, sha256)
        pin = SnapshotRef(snapshot.n, snapshot.sha)
        subset = Subset(recipe.name, version, recipe.dataset, spec, pin, rows, statistics, sha256, utc_now())
        store.put_file(subset.pairs_key, finished)
        store.checked_path(subset.pairs_key, sha256)  # an earlier, killed call may have put it there
    store.put_if_absent(f"{subset_folder(recipe.name, version)}/manifest.json", canonical_json(asdict(subset)))
    settle(store, [subset.pairs_key, snapshot_key(snapshot.n)])
    return get_subset(store, subset.ref)


def selected_pairs(
    store: Store, snapshot: Snapshot, recipe: Recipe, *, table: PairTable | None = None, threads: int | None = None
) -> pa.Table:
    """The pairs that a subset of this recipe and snapshot holds (SUBSET_PAIRS), without keeping them. EmptySubsetError
    if there are none."""

    def selected(known: PairTable) -> pa.Table:
        with selecting(known, recipe, threads=threads) as selection:
            return pa.Table.from_batches(_taken_pairs(selection), schema=SUBSET_PAIRS)

    return while_hashing(table or PairTable(store, snapshot, recipe.dataset), selected)


def _taken_pairs(selection: Selection) -> Iterator[pa.RecordBatch]:
    if not selection.taken:
        raise _empty(selection)
    _check_weights(selection)
    query = f"""SELECT {_columns("rank")}
                FROM taken chosen JOIN ordered USING (position) JOIN labelled pairs USING (position) ORDER BY rank"""
    for batch in selection.con.sql(query).to_arrow_reader(65_536):
        yield batch.cast(SUBSET_PAIRS)


def _columns(rank: str) -> str:
    winner, loser = (f"CASE pairs.chosen WHEN {side} THEN image_0_uid ELSE image_1_uid END" for side in (0, 1))
    return (
        f"pairs.pair_id, {rank} AS rank, metric, prompt_id, prompt, {winner} AS winner_uid, {loser} AS loser_uid, "
        "label_source, preference, weight"
    )


def _check_weights(selection: Selection) -> None:
    weights = selection.recipe.weights
    if weights is None:
        return
    ((bad,),) = selection.con.sql(
        "SELECT count(*) FROM taken JOIN labelled USING (position) WHERE NOT (weight > 0 AND isfinite(weight))"
    ).fetchall()
    if bad:
        raise UsageError(
            f"weights: {weights.field} is not positive for {bad:,} of the pairs to be taken",
            code="bad-recipe",
            hint="give the weights a `low`, or filter those out with `where`",
        )


def _empty(selection: Selection) -> EmptySubsetError:
    counts = stage_counts(selection)
    said = [f"of {counts['pairs']:,} pairs in {selection.recipe.dataset}"]
    said += [f"{left:,} pass {name}" for name, left in counts["left"].items()]
    if selection.eligible:
        said.append(f"none reaches the threshold {selection.recipe.take.threshold!r}")
    return EmptySubsetError(
        f"recipe {selection.recipe.name} selects no pair: {', '.join(said)}",
        hint="widen `take`" if selection.eligible else f"widen `{_culprit(counts)}`, or score more",
    )


def _culprit(counts: dict[str, dict[str, int]]) -> str:
    return next((name for name, left in counts["left"].items() if not left), "where")
