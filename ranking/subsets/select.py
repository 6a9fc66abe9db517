"""Carries a recipe out: ranks the pairs of a snapshot and keeps the best as an immutable subset."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import duckdb
import pyarrow as pa

from ranking import duck
from ranking.errors import EmptySubsetError, NotFoundError
from ranking.features.pairs import PairTable
from ranking.metrics.frame import Frame
from ranking.names import canonical_json, sha256_file, utc_now
from ranking.query import compile_filter
from ranking.schema import SUBSET_PAIRS
from ranking.store.blobs import Store
from ranking.store.parquet import write_parquet, writing
from ranking.store.snapshots import Snapshot, snapshot_key
from ranking.store.trash import settle
from ranking.subsets.catalog import SnapshotRef, Subset, get_subset, subset_folder, subset_version
from ranking.subsets.recipe import Recipe, Relabel, check_recipe
from ranking.subsets.statistics import describe

RANKED: pa.Schema = pa.schema([*SUBSET_PAIRS, ("taken", pa.bool_())])
"""SUBSET_PAIRS for every eligible pair (`rank` among all of them), and whether the recipe takes it."""


@dataclass(frozen=True)
class Explanation:
    """Why a recipe takes a pair or does not: `reason` is one sentence. `rank` (1 = best) and `metric` are
    None for a pair that is not eligible; `eligible` counts the pairs that are.
    """

    pair_id: str
    taken: bool
    metric: float | None
    rank: int | None
    eligible: int
    reason: str


def rank(store: Store, snapshot: Snapshot, recipe: Recipe, *, limit: int | None = None) -> pa.Table:
    """The eligible pairs, best first (RANKED schema), at most `limit` of them.

    Eligible are pairs that pass `where`, have a winner under the recipe's labels and have a metric. Order:
    metric descending (ascending where the recipe takes from the bottom), then pair_id. Raises UnknownNameError for
    names the snapshot does not have.
    """
    with _ranked(store, snapshot, recipe) as con:
        top = "" if limit is None else f"LIMIT {int(limit)}"
        return duck.arrow(con, f"SELECT {_columns(RANKED)} FROM ranked ORDER BY rank {top}").cast(RANKED)


def explain(store: Store, snapshot: Snapshot, recipe: Recipe, *, pair_id: str) -> Explanation:
    """Why the recipe takes the pair or does not; NotFoundError if the dataset has no such pair."""
    with _ranked(store, snapshot, recipe) as con:
        eligible = _eligible(con)
        found = duck.arrow(con, "SELECT * FROM ranked WHERE pair_id = ?", [pair_id]).to_pylist()
        if found:
            row = found[0]
            if row["taken"]:
                reason = "taken"
            elif recipe.per_prompt and recipe.per_prompt.max and row["in_prompt"] > recipe.per_prompt.max:
                reason = f"its prompt already has {recipe.per_prompt.max} better pairs"
            else:
                reason = "its metric is not high enough"
            return Explanation(pair_id, row["taken"], row["metric"], row["rank"], eligible, reason)
        judged = duck.arrow(con, "SELECT * FROM judged WHERE pair_id = ?", [pair_id]).to_pylist()
    if not judged:
        raise NotFoundError(f"dataset {recipe.dataset} has no pair {pair_id} in snapshot {snapshot.n}")
    if judged[0]["chosen"] is None:
        reason = f"it has no winner by {recipe.label_source} labels"
    elif not judged[0]["passes"]:
        reason = "the filter leaves it out"
    else:
        reason = "it has no metric, as a score is missing"
    return Explanation(pair_id, False, None, None, eligible, reason)


def create_subset(store: Store, recipe: Recipe, snapshot: Snapshot) -> Subset:
    """The subset that the recipe selects from the snapshot; the existing one if it was made before.

    Raises EmptySubsetError if that is no pair, UnknownNameError for names the snapshot does not have.
    """
    with writing(store, f"subset {recipe.name}") as finished:
        with _ranked(store, snapshot, recipe) as con:
            rows = write_parquet(finished, SUBSET_PAIRS, _taken_pairs(con))
            if not rows:
                raise _empty(con, recipe)
            sha256 = sha256_file(finished)
            con.execute("CREATE VIEW selection AS FROM wide SEMI JOIN (FROM ranked WHERE taken) USING (pair_id)")
            statistics = {
                "eligible": _eligible(con),
                "before": describe(con, "wide", snapshot.scorers),
                "after": describe(con, "selection", snapshot.scorers),
            }
        spec = recipe.canonical()
        version = subset_version(spec, snapshot.sha, sha256)
        pin = SnapshotRef(snapshot.n, snapshot.sha)
        subset = Subset(recipe.name, version, recipe.dataset, spec, pin, rows, statistics, sha256, utc_now())
        store.put_file(subset.pairs_key, finished)
        store.checked_path(subset.pairs_key, sha256)  # an earlier, killed call may have put it there
    store.put_if_absent(f"{subset_folder(recipe.name, version)}/manifest.json", canonical_json(asdict(subset)))
    settle(store, [subset.pairs_key, snapshot_key(snapshot.n)])
    return get_subset(store, subset.ref)


@contextmanager
def _ranked(store: Store, snapshot: Snapshot, recipe: Recipe) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the views `wide` and the tables `judged` (every pair) and `ranked` (the eligible
    ones).
    """
    table = PairTable(store, snapshot, recipe.dataset)
    check_recipe(recipe, table)
    condition, params = compile_filter(recipe.where, table.fields)
    with table.connect() as con:
        con.execute(f"CREATE VIEW wide AS FROM {table.relation(recipe.fields)}")
        con.execute(f"CREATE VIEW labelled AS SELECT *, {_winner(recipe)} AS chosen FROM wide")
        frame = Frame(con, "labelled", winner="chosen", seed=recipe.seed, table=table)
        metric = recipe.metric.expression(frame)
        con.execute(
            f"""CREATE TABLE judged AS
                SELECT
                    pairs.pair_id, pairs.prompt_id, chosen, {metric} AS metric, coalesce({condition}, false) AS passes
                {frame.source()}""",
            params,
        )
        con.execute(_RANKED.format(direction="DESC" if recipe.take.end == "top" else "ASC"))
        _mark_taken(con, recipe)
        yield con


_RANKED = """
CREATE TABLE ordered AS
SELECT
    pair_id, chosen, metric,
    row_number() OVER (ORDER BY metric {direction}, pair_id) AS rank,
    row_number() OVER (PARTITION BY prompt_id ORDER BY metric {direction}, pair_id) AS in_prompt
FROM judged WHERE passes AND chosen IS NOT NULL AND metric IS NOT NULL
"""


def _mark_taken(con: duckdb.DuckDBPyConnection, recipe: Recipe) -> None:
    eligible = int(con.sql("SELECT count(*) FROM ordered").fetchall()[0][0])
    cap = f"in_prompt <= {recipe.per_prompt.max}" if recipe.per_prompt and recipe.per_prompt.max else "true"
    threshold = (
        "true" if recipe.take.threshold is None else f"metric {'>=' if recipe.take.end == 'top' else '<='} $threshold"
    )
    params = {} if recipe.take.threshold is None else {"threshold": recipe.take.threshold}
    con.execute(
        f"""CREATE TABLE ranked AS
            SELECT
                o.*, prompt_id, prompt,
                CASE chosen WHEN 0 THEN image_0_uid ELSE image_1_uid END AS winner_uid,
                CASE chosen WHEN 0 THEN image_1_uid ELSE image_0_uid END AS loser_uid,
                {duck.literal(recipe.label_source)} AS label_source, 1.0::DOUBLE AS preference, 1.0::DOUBLE AS weight,
                {cap} AND {threshold} AND place <= {recipe.take.most(eligible)} AS taken
            FROM (SELECT *, row_number() OVER (PARTITION BY {cap} ORDER BY rank) AS place FROM ordered) o
            JOIN wide USING (pair_id)""",
        params,
    )


def _winner(recipe: Recipe) -> str:
    if recipe.labels == "random":
        # A pair without a winner stays out, so that the control differs from the human labels in nothing else.
        toss = f"(('0x' || substr(sha256('labels:{recipe.seed}:' || pair_id), 1, 12))::BIGINT % 2)::INTEGER"
        return f"CASE WHEN winner IS NOT NULL THEN {toss} END"
    if not isinstance(recipe.labels, Relabel):
        return "winner"
    first, second = (duck.identifier(f"{recipe.labels.relabel}.{side}") for side in (0, 1))
    return f"CASE WHEN {first} > {second} THEN 0 WHEN {second} > {first} THEN 1 END"


def _taken_pairs(con: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    query = f"""SELECT {_columns(SUBSET_PAIRS)} FROM (
        SELECT * REPLACE (row_number() OVER (ORDER BY rank) AS rank) FROM ranked WHERE taken) ORDER BY rank"""
    for batch in con.sql(query).to_arrow_reader(65_536):
        yield batch.cast(SUBSET_PAIRS)


def _empty(con: duckdb.DuckDBPyConnection, recipe: Recipe) -> EmptySubsetError:
    counts = "SELECT count(*) AS pairs, count(*) FILTER (passes) AS passing FROM judged"
    row = duck.arrow(con, counts).to_pylist()[0]
    return EmptySubsetError(
        f"recipe {recipe.name} selects no pair: of {row['pairs']} pairs in {recipe.dataset}, "
        f"{row['passing']} pass the filter and {_eligible(con)} of these have a winner and a metric",
        hint="widen `where` or `take`, or score more",
    )


def _eligible(con: duckdb.DuckDBPyConnection) -> int:
    return int(con.sql("SELECT count(*) FROM ranked").fetchall()[0][0])


def _columns(schema: pa.Schema) -> str:
    return ", ".join(schema.names)
