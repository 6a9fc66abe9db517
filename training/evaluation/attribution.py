"""Which pairs a run took up, and which of them ask for what unseen pairs ask for, beside what chose them. It draws no
picture, and is no proof: that takes another run without the pairs."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import spearmanr

from ranking import duck
from ranking.errors import NotFoundError, UsageError
from ranking.features.pairs import PairTable
from ranking.names import canonical_json, sha256_hex
from ranking.runs import get_run, run_result, run_state
from ranking.store.blobs import Store
from ranking.store.snapshots import get_snapshot
from ranking.subsets.catalog import Subset, subset_pairs
from ranking.subsets.foreign import ForeignSubset, find_subset, foreign_pairs
from training.blocks import HeldOutConfig
from training.caches.provide import Round, load_material
from training.config import TrainConfig, parse_config
from training.data.pairs import PairSource
from training.data.rest import source_of
from training.evaluation.direction import agreement, distance_between, where_it_began
from training.evaluation.implicit import (
    credit,
    draw_changes,
    held_out_config,
    held_out_pairs,
    share_of_mean,
    share_over_prompts,
)
from training.evaluation.winrates import ByPrompt
from training.intervals import Estimate, Floats
from training.models.load import load_for
from training.progress import Progress, silent
from workers.scorers.runtime import pick_device

VERSION = 1
GROUPS = 5


@dataclass(frozen=True)
class Attribution:
    """A run's pairs, by rank, with what it made of each.

    `table` has pair_id, rank, metric, prompt, winner_uid, loser_uid, preference and weight as the subset has them;
    `<scorer>.gap`, the winner's score less the loser's, where this store has the snapshot; and in denoising error,
    means over `draws` timesteps and noises with their standard errors,

    - winner_change, loser_change: the tuned model's error less its base's, below 0 is better;
    - margin (margin_error): loser_change − winner_change, above 0 where the order was learnt;
    - helped_start, helped_end: `training.evaluation.direction.agreement` with the pairs of `held_out` at the base's
      and at the tuned weights, above 0 where both ask for the same; helped (helped_error): their mean, TracIn's sum
      over the two ends of the way. Not there where `held_out` is None.
    """

    run_id: str
    subset: str
    held_out: str | None
    held_out_pairs: int
    draws: int
    table: pa.Table


@dataclass(frozen=True)
class Group:
    """A run's pairs of ranks `first` to `last`: the share whose order was `learnt`, the mean margin and changes, and
    the share that `helped`, with 95 % intervals over prompts."""

    first: int
    last: int
    pairs: int
    learnt: Estimate
    margin: Estimate
    winner_change: Estimate
    loser_change: Estimate
    helped: Estimate | None


def attribute(
    store: Store,
    run_id: str,
    *,
    wanted: HeldOutConfig | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Attribution:
    """Look at every pair of a finished run, or read what was found before.

    `wanted` says which unseen pairs, and how many draws of every pair: those of the dataset's prompts that the subset
    does not have, or another subset. Where there are none, and no subset was named, nothing is said of who helped.

    Raises NotFoundError for a run that is not done, UsageError for one whose weights are those of its base and for
    a held-out subset that shares pairs with the run's.
    """
    plan = get_run(store, run_id)
    if run_state(store, run_id) != "done":
        raise NotFoundError(f"run {run_id} is not done", hint="train it first")
    config = parse_config(plan.config, where=f"run {run_id}")
    wanted = wanted or HeldOutConfig()
    output = run_result(store, run_id)["output"]
    asked = {"version": VERSION, "output": output, "held_out": wanted.model_dump(mode="json")}
    key = f"runs/{run_id}/pairs/{sha256_hex(canonical_json(asked))[:16]}.parquet"
    if not store.exists(key):
        found = _looked_at(store, config, output, plan.subset, wanted, device=device, tell=progress)
        buffer = io.BytesIO()
        pq.write_table(found, buffer, compression="zstd")
        store.put_if_absent(key, buffer.getvalue())
    table = pq.read_table(store.local(key), partitioning=None)
    facts = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
    return Attribution(
        run_id=run_id,
        subset=plan.subset,
        held_out=facts.get("held_out") or None,
        held_out_pairs=int(facts.get("held_out_pairs", 0)),
        draws=wanted.draws,
        table=_beside_quality(store, find_subset(store, plan.subset), table),
    )


def groups(found: Attribution) -> list[Group]:
    """All of a run's pairs, then its fifths by rank, the best first."""
    count = len(found.table)
    parts = np.array_split(np.arange(count), GROUPS) if count >= 2 * GROUPS else []
    return [_group(found.table.take(pa.array(part))) for part in [np.arange(count), *parts]]


def goes_with(found: Attribution) -> list[tuple[str, float, float | None]]:
    """Spearman's ρ of what was known before the training (the metric, each scorer's gap) with the margin and with
    `helped`, as (name, ρ, ρ); NaN where one of them is constant, None where nothing is known of who helped."""
    columns = ["metric", *(name for name in found.table.column_names if name.endswith(".gap"))]
    margin, helped = _floats(found.table, "margin"), _floats(found.table, "helped")
    some = found.held_out is not None
    return [
        (name, _spearman(values, margin), _spearman(values, helped) if some else None)
        for name, values in ((name, _floats(found.table, name)) for name in columns)
    ]


def _looked_at(
    store: Store,
    config: TrainConfig,
    output: str,
    ref: str,
    wanted: HeldOutConfig,
    *,
    device: str,
    tell: Progress | None,
) -> pa.Table:
    tell = tell or silent
    subset = find_subset(store, ref)
    unseen = _unseen(store, subset, wanted)
    # Differences of two networks that are nearly the same are lost in half precision.
    plain = held_out_config(config).model_copy(update={"precision": "fp32"})
    model = load_for(plain, device=pick_device(device))
    pairs = load_material(
        source_of(store, subset), model, plain, way=Round(lambda _, done, total: tell("encode", done, total))
    )
    policy = model.load_trained(store.local_folder(output))
    start = where_it_began(model, policy)
    distance = distance_between(start, policy)
    if not distance:
        raise UsageError(f"the weights in {output} are those of {config.model}: nothing was learnt")
    changes, _ = draw_changes(
        model, policy, model.denoiser, pairs, draws=wanted.draws, progress=lambda d, t: tell("margins", d, t)
    )
    columns = {"pair_id": pairs.rows.pair_ids, **_told(changes)}
    facts = {"held_out": "", "held_out_pairs": "0"}
    if unseen is not None:
        held = load_material(unseen, model, plain, way=Round(lambda _, done, total: tell("held-out", done, total)))
        both = []
        for stage, weights in (("helped at the start", start), ("helped at the end", policy)):
            both.append(
                agreement(
                    model,
                    weights,
                    pairs,
                    held,
                    distance=distance,
                    draws=wanted.draws,
                    progress=lambda d, t, stage=stage: tell(stage, d, t),  # type: ignore[misc]
                )
            )
        helped = (both[0] + both[1]) / 2
        columns |= {"helped_start": both[0].mean(1), "helped_end": both[1].mean(1)}
        columns |= {"helped": helped.mean(1), "helped_error": _standard_error(helped)}
        facts = {"held_out": held.rows.ref, "held_out_pairs": str(len(held))}
    return pa.table(columns).replace_schema_metadata(facts)


def _unseen(store: Store, subset: Subset | ForeignSubset, wanted: HeldOutConfig) -> PairSource | None:
    try:
        return held_out_pairs(store, subset, wanted)
    except UsageError:
        if wanted.subset is not None:
            raise
        return None  # the subset has every prompt, or is another store's


def _told(changes: Floats) -> dict[str, Floats]:
    """Columns of changes (N, draws, 2)."""
    margins = changes[..., 1] - changes[..., 0]
    return {
        "winner_change": changes[..., 0].mean(1),
        "loser_change": changes[..., 1].mean(1),
        "margin": margins.mean(1),
        "margin_error": _standard_error(margins),
    }


def _standard_error(values: Floats) -> Floats:
    """Of the mean over draws (N, draws); NaN for a single one."""
    draws = values.shape[1]
    return values.std(1, ddof=1) / np.sqrt(draws) if draws > 1 else np.full(len(values), np.nan)


def _beside_quality(store: Store, subset: Subset | ForeignSubset, found: pa.Table) -> pa.Table:
    """What a run made of its pairs beside what the subset and, where it is this store's, the scorers say of them."""
    with duck.connect() as con:
        con.register("found", found)
        gaps = ""
        if isinstance(subset, Subset):
            con.register("pairs", subset_pairs(store, subset))
            table = PairTable(store, get_snapshot(store, subset.snapshot.n), subset.dataset)
            scores = f"JOIN {duck.parquet_scan([table.path])} wide USING (pair_id)"
            for scorer in table.scorers:
                left, right, gap = (duck.identifier(f"{scorer}.{end}") for end in ("0", "1", "gap"))
                gaps += (
                    f", CASE WHEN wide.image_0_uid = pairs.winner_uid THEN 1 ELSE -1 END * ({left} - {right}) AS {gap}"
                )
        else:
            con.register("pairs", foreign_pairs(store, subset))
            scores = ""
        return duck.arrow(con, _BESIDE.format(gaps=gaps, scores=scores))


_BESIDE = """SELECT pairs.pair_id, pairs.rank, pairs.metric, pairs.prompt, pairs.winner_uid, pairs.loser_uid,
        pairs.preference, pairs.weight{gaps}, found.* EXCLUDE (pair_id)
    FROM found JOIN pairs USING (pair_id) {scores} ORDER BY pairs.rank"""


def _group(table: pa.Table) -> Group:
    by = ByPrompt.of(table["prompt"].to_pylist())
    margin, helped = _floats(table, "margin"), _floats(table, "helped")
    ranks = table["rank"].to_numpy()
    return Group(
        first=int(ranks.min()),
        last=int(ranks.max()),
        pairs=len(table),
        learnt=share_over_prompts(by.sums(credit(margin)), by.counts, by),
        margin=share_of_mean(margin, by),
        winner_change=share_of_mean(_floats(table, "winner_change"), by),
        loser_change=share_of_mean(_floats(table, "loser_change"), by),
        helped=None if np.isnan(helped).any() else share_over_prompts(by.sums(credit(helped)), by.counts, by),
    )


def _floats(table: pa.Table, name: str) -> Floats:
    """A column, float64 with NaN for null; of NaN where it is not there."""
    if name not in table.column_names:
        return np.full(len(table), np.nan)
    values: Floats = table[name].cast(pa.float64()).to_numpy()
    return values


def _spearman(first: Floats, second: Floats) -> float:
    known = np.isfinite(first) & np.isfinite(second)
    one, two = first[known], second[known]
    if len(one) < 3 or (one == one[0]).all() or (two == two[0]).all():
        return float("nan")
    return float(spearmanr(one, two).statistic)
