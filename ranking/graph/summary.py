"""The label graph in a few numbers, and its tables of raters and models. Computes no feature."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ranking import duck
from ranking.datasets import Dataset
from ranking.graph.label_graph import LabelGraph
from ranking.store.blobs import Store
from ranking.store.parquet import new_spill

_SUMMARY = """
SELECT
    count(*) AS pairs,
    count(*) FILTER (is_tie) AS ties,
    count(*) FILTER (absolute_winner) AS absolute_winners,
    count(*) FILTER (contradictions > 0) AS contradicted,
    count(*) FILTER (in_cycle) AS in_cycles,
    count(DISTINCT prompt_id) AS prompts,
    count(DISTINCT prompt_cluster) AS prompt_clusters,
    count(DISTINCT rater) AS raters,
    avg(chain_length) FILTER (chain_position = 0) AS mean_chain
FROM {pairs} POSITIONAL JOIN {graph}
"""


@dataclass(frozen=True)
class LabelSummary:
    """Counts over a dataset's pairs; `mean_chain` is the mean length of chains, None without known raters."""

    pairs: int
    ties: int
    absolute_winners: int
    contradicted: int
    in_cycles: int
    prompts: int
    prompt_clusters: int
    raters: int
    mean_chain: float | None


def summary(store: Store, dataset: Dataset, graph: LabelGraph) -> LabelSummary:
    """The summary of a dataset and its label graph; StoreError if a file is damaged."""
    beside = store.checked_path(graph.pairs.file, graph.pairs.sha256)
    with duck.connect(memory_limit=duck.MEMORY, temp_directory=new_spill(store)) as con:
        query = _SUMMARY.format(
            pairs=duck.parquet_scan(dataset.pairs_paths(store)),
            graph=duck.parquet_scan([beside]),
        )
        return LabelSummary(**duck.arrow(con, query).to_pylist()[0])


def raters(store: Store, graph: LabelGraph) -> pa.Table:
    """The raters (schema RATERS), the busiest first."""
    return pq.read_table(store.checked_path(graph.raters.file, graph.raters.sha256), partitioning=None)


def models(store: Store, graph: LabelGraph) -> pa.Table:
    """The models by win rate: model, pairs with other models, win_rate (a tie counting half), and how it does against
    each (`against`: opponent to win rate)."""
    matches = duck.parquet_scan([store.checked_path(graph.matches.file, graph.matches.sha256)])
    with duck.connect() as con:
        return duck.arrow(
            con,
            f"""SELECT model, sum(pairs)::BIGINT AS pairs, sum(score) / sum(pairs) AS win_rate,
                    map_from_entries(list((opponent, score / pairs) ORDER BY opponent)) AS against
                FROM {matches} GROUP BY model ORDER BY win_rate DESC, model""",
        )
