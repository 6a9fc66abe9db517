"""The label graph of a dataset: built once for each revision, kept in the store, and read as columns that stand
beside the pairs. Derivable, so deletable."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from ranking import duck
from ranking.datasets import Dataset
from ranking.errors import UNUSABLE, NotFoundError, StoreError
from ranking.graph import outcomes
from ranking.graph.cycles import on_cycles
from ranking.graph.prompts import clusters
from ranking.names import canonical_json, parse_json
from ranking.schema import LABEL_GRAPH, MATCHES, RATERS
from ranking.store.blobs import Store
from ranking.store.parquet import DataFile, new_spill, put_parquet

VERSION = 1  # raise it when the columns or their meaning change: what was built before is then built again
_OUTPUT_ROWS = 65_536

Progress = Callable[[int, int], None]

# Positions follow the order of the files, which DuckDB keeps as it scans.
_JUDGED = """
CREATE TABLE rater_numbers AS
SELECT rater, row_number() OVER (ORDER BY rater)::INTEGER AS number
FROM (SELECT DISTINCT rater FROM {pairs} WHERE rater IS NOT NULL);
CREATE TABLE judged AS
SELECT
    n, prompt, item_0, item_1, winner, CASE winner WHEN 0 THEN item_0 WHEN 1 THEN item_1 END AS won,
    number AS rater, model_0, model_1, moment
FROM (
    SELECT
        row_number() OVER () - 1 AS n, ('0x' || prompt_id)::UBIGINT AS prompt, item_0, item_1, winner,
        rater AS name, model_0, model_1, epoch_us(created_at) AS moment
    FROM {pairs}
) LEFT JOIN rater_numbers ON rater = name
"""

_BESIDE_PAIRS = """
SELECT
    first.wins AS wins_0, first.losses AS losses_0, first.ties AS ties_0,
    second.wins AS wins_1, second.losses AS losses_1, second.ties AS ties_1,
    coalesce(CASE winner
        WHEN 0 THEN first.wins > 1 AND first.losses = 0 AND first.ties = 0
        WHEN 1 THEN second.wins > 1 AND second.losses = 0 AND second.ties = 0 END, false) AS absolute_winner,
    coalesce(CASE won WHEN low THEN low_won - 1 WHEN high THEN high_won - 1 END, 0)::INTEGER AS agreements,
    coalesce(CASE won WHEN low THEN high_won WHEN high THEN low_won END, 0)::INTEGER AS contradictions,
    in_cycle,
    chains.position AS chain_position, chains.length AS chain_length,
    raters.pairs::INTEGER AS rater_pairs, raters.ties / raters.pairs AS rater_tie_share,
    raters.first_share AS rater_first_share, raters.cycle_share AS rater_cycle_share,
    raters.compared::INTEGER AS rater_compared, raters.agreement AS rater_agreement,
    rate_0.win_rate AS model_win_rate_0, rate_1.win_rate AS model_win_rate_1,
    prompt_counts.pairs AS prompt_pairs, same_size::INTEGER AS prompt_variants,
    cluster AS prompt_cluster, cluster_size::INTEGER AS prompt_cluster_size
FROM judged
JOIN outcomes first ON first.item = item_0
JOIN outcomes second ON second.item = item_1
JOIN cycles USING (n)
JOIN prompt_counts USING (prompt)
JOIN prompt_clusters USING (prompt)
LEFT JOIN meetings ON low = least(item_0, item_1) AND high = greatest(item_0, item_1)
LEFT JOIN chains USING (n)
LEFT JOIN raters USING (rater)
LEFT JOIN win_rates rate_0 ON rate_0.model = model_0
LEFT JOIN win_rates rate_1 ON rate_1.model = model_1
ORDER BY n
"""

_RATERS = """
SELECT rater_numbers.rater, pairs, ties, first_share, cycle_share, compared, agreement
FROM raters JOIN rater_numbers ON number = raters.rater ORDER BY pairs DESC, rater_numbers.rater
"""

_MATCHES = "SELECT model, opponent, pairs, score, ties FROM matches ORDER BY model, opponent"


@dataclass(frozen=True)
class LabelGraph:
    """What the labels of one dataset revision say about each other.

    `pairs` (schema LABEL_GRAPH) has one row per pair, in the dataset's order: row i belongs to pair i of its pairs
    files one after the other. `raters` (schema RATERS) has one row per known rater, `matches` (schema MATCHES) one
    per ordered pair of models that met.
    """

    dataset: str
    revision: int
    revision_sha: str
    version: int
    pairs: DataFile
    raters: DataFile
    matches: DataFile


def label_graph(store: Store, dataset: Dataset, *, progress: Progress | None = None) -> LabelGraph:
    """The label graph of the dataset at its revision, built if nobody did so before, or if what was built is
    damaged or lost. Its files were hashed.

    `progress(done, total)` is called after each of the steps. Raises StoreError if a file of the dataset is damaged.
    """
    key = graph_key(dataset)
    found = _find(store, key)
    if found is None:
        built = _build(store, dataset, progress or _silent)
        store.put_if_absent(key, canonical_json(asdict(built)))
        found = _find(store, key)
    if found is None:
        raise StoreError(f"{key} was damaged while it was built", code="damaged", hint="try again")
    return found


def _find(store: Store, key: str) -> LabelGraph | None:
    """The label graph if it is there and whole. A damaged one is worth nothing and goes, so that it can be built
    again."""
    if not store.exists(key):
        return None
    files: dict[str, DataFile] = {}
    try:
        record: dict[str, Any] = parse_json(store.get(key), where=key)
        files = {name: DataFile(**record[name]) for name in ("pairs", "raters", "matches")}
        graph = LabelGraph(**record | files)
        store.checked_paths((file.file, file.sha256) for file in files.values())
    except (KeyError, TypeError, NotFoundError, StoreError) as error:
        if isinstance(error, StoreError) and error.code == UNUSABLE:
            raise  # a store out of reach has damaged nothing
        store.delete(key)
        for file in files.values():
            if store.digest(file.file) != file.sha256:
                store.delete(file.file)
        return None
    return graph


def graph_key(dataset: Dataset) -> str:
    """Where the label graph of the dataset's revision is, or will be, described."""
    return f"graphs/{dataset.name}/{dataset.revision_sha[:16]}.v{VERSION}.json"


def _build(store: Store, dataset: Dataset, progress: Progress) -> LabelGraph:
    folder = f"graphs/{dataset.name}/data"
    pairs = duck.parquet_scan(dataset.pairs_paths(store))
    with duck.connect(memory_limit=duck.MEMORY, temp_directory=new_spill(store)) as con:
        con.execute(_JUDGED.format(pairs=pairs))
        steps: tuple[Callable[[duckdb.DuckDBPyConnection], None], ...] = (
            _add_cycles,
            partial(_add_prompt_clusters, pairs=pairs),
            outcomes.count_images,
            outcomes.count_chains,
            outcomes.count_raters,
            outcomes.count_models,
        )
        for done, step in enumerate(steps):
            step(con)
            progress(done + 1, len(steps) + 1)
        graph = LabelGraph(
            dataset=dataset.name,
            revision=dataset.revision,
            revision_sha=dataset.revision_sha,
            version=VERSION,
            pairs=put_parquet(store, folder, LABEL_GRAPH, _batches(con, _BESIDE_PAIRS, LABEL_GRAPH)),
            raters=put_parquet(store, folder, RATERS, _batches(con, _RATERS, RATERS)),
            matches=put_parquet(store, folder, MATCHES, _batches(con, _MATCHES, MATCHES)),
        )
    if graph.pairs.rows != dataset.n_pairs:
        raise StoreError(f"the label graph of {dataset.name} has {graph.pairs.rows} rows for {dataset.n_pairs} pairs")
    progress(len(steps) + 1, len(steps) + 1)
    return graph


def _add_cycles(con: duckdb.DuckDBPyConnection) -> None:
    judged = duck.arrow(con, "SELECT item_0, item_1, winner FROM judged ORDER BY n")
    first, second = judged["item_0"].to_numpy(), judged["item_1"].to_numpy()
    winner = judged["winner"].fill_null(-1).to_numpy()
    won = winner >= 0
    in_cycle = np.zeros(len(winner), bool)
    in_cycle[won] = on_cycles(
        np.where(winner == 0, first, second)[won],
        np.where(winner == 0, second, first)[won],
    )
    con.register("found", pa.table({"n": np.arange(len(winner)), "in_cycle": in_cycle}))
    con.execute("CREATE TABLE cycles AS FROM found")
    con.unregister("found")


def _add_prompt_clusters(con: duckdb.DuckDBPyConnection, pairs: str) -> None:
    found = duck.arrow(con, f"SELECT prompt_id, any_value(prompt) AS prompt FROM {pairs} GROUP BY 1 ORDER BY 1")
    ids = found["prompt_id"].combine_chunks()
    same, cluster = clusters(found["prompt"].combine_chunks())
    named = {
        "prompt_id": ids,
        "cluster": ids.take(pa.array(cluster)),
        "same_size": np.bincount(same, minlength=len(ids))[same],
        "cluster_size": np.bincount(cluster, minlength=len(ids))[cluster],
    }
    con.register("found", pa.table(named))
    con.execute("CREATE TABLE prompt_clusters AS SELECT ('0x' || prompt_id)::UBIGINT AS prompt, * FROM found")
    con.unregister("found")


def _batches(con: duckdb.DuckDBPyConnection, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in con.sql(query).to_arrow_reader(_OUTPUT_ROWS):
        yield batch.cast(schema)


def _silent(_done: int, _total: int) -> None:
    """For callers who do not look."""
