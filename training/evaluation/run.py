"""One run against its base: drawn, judged, and written beside the run and its subset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ranking.errors import NotFoundError, UsageError
from ranking.names import canonical_json, sha256_hex, utc_now
from ranking.runs import get_run, run_result, run_state
from ranking.store.blobs import Store
from ranking.store.snapshots import get_snapshot
from ranking.subsets.catalog import Subset
from ranking.subsets.foreign import ForeignSubset, find_subset
from ranking.subsets.influence import used_of, used_scorers
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.verdicts import JudgeVerdict, Verdict, record_verdict
from training.blocks import TOYWORLD, EvaluationConfig
from training.caches.provide import Round, load_material
from training.config import TrainConfig, parse_config
from training.data.pairs import PairSource
from training.evaluation.diversity import Diversity, diversity
from training.evaluation.implicit import Implicit, held_out_config, held_out_pairs, implicit_accuracy
from training.evaluation.judging import ORACLE, Judges, embedding_of, embeddings
from training.evaluation.prompts import read_prompts
from training.evaluation.records import (
    Evaluation,
    evaluation_key,
    keep_evaluation,
    keep_table,
    read_evaluation,
    table_key,
)
from training.evaluation.samples import Samples, draw
from training.evaluation.winrates import win_rate
from training.models.base import DiffusionModel
from training.models.load import load_for
from training.progress import Progress, silent
from workers.scorers.registry import choose
from workers.scorers.runtime import pick_device

AUTO = "auto"


@dataclass(frozen=True)
class _Bench:
    """A run that is looked at: its config, the pairs held out for it if any, its base model, and where its output
    lies."""

    store: Store
    run_id: str
    config: TrainConfig
    held_out: PairSource | None
    model: DiffusionModel
    output: str
    device: str


def evaluate(
    store: Store,
    run_id: str,
    settings: EvaluationConfig | None = None,
    *,
    output: str | None = None,
    device: str = "auto",
    batch: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare a finished run with its base; a comparison that was made before is read, not made again.

    `output` is the store folder of a trained model whose run is not marked as done yet, or of a checkpoint; else the
    run's own. `batch` images are drawn at once (see `draw`).
    Raises NotFoundError for a run that is not done, UsageError for prompts that cannot be read or judged, and for
    held-out pairs that there are none of.
    """
    plan = get_run(store, run_id)
    if output is None and run_state(store, run_id) != "done":
        raise NotFoundError(f"run {run_id} is not done", hint="train it first")
    config = parse_config(plan.config, where=f"run {run_id}")
    settings = settings or config.evaluation or EvaluationConfig()
    embedded = check_settings(store, settings)
    prompts = read_prompts(settings.prompts)
    output = output or run_result(store, run_id)["output"]
    judges = Judges(store, settings.judges, device)
    content = settings.model_dump(mode="json") | {
        "prompts": prompts,
        "output": output,
        "judges": sorted(judges.ids().values()),
        "oracle": ORACLE in settings.judges,
        "diversity": embedding_of(store, embedded) if embedded else None,
    }
    name = sha256_hex(canonical_json(content))[:16]
    key = evaluation_key(run_id, name)
    if store.exists(key):
        return read_evaluation(store, key)

    judges.device = chosen = pick_device(device)
    found = find_subset(store, plan.subset)
    held_out = held_out_pairs(store, found, settings.held_out) if settings.held_out is not None else None
    model = load_for(config, device=chosen)
    bench = _Bench(store, run_id, config, held_out, model, output, chosen)
    tell = progress or silent
    base = draw(store, model, None, prompts, settings, batch=batch, on_images=lambda d, t: tell("base", d, t))
    run = draw(store, model, output, prompts, settings, batch=batch, on_images=lambda d, t: tell("run", d, t))

    before, after = judges.scores(base), judges.scores(run)
    keep_table(store, table_key(run_id, name), base, before, after)
    ids = judges.ids()
    names = {judge: scorer_id.partition("@")[0] for judge, scorer_id in ids.items()}
    selected_by = selecting_scorers(store, found, names.values())
    evaluation = Evaluation(
        run_id=run_id,
        settings=settings.model_dump(mode="json"),
        prompts=len(prompts),
        images=len(base.images),
        base_samples=base.key,
        run_samples=run.key,
        judges=tuple(
            win_rate(
                judge,
                before[judge],
                after[judge],
                base.prompts,
                margin=judges.margin(judge, settings.ties.get(judge), base),
                circular=names.get(judge) in selected_by,
                scorer_id=ids.get(judge, ""),
            )
            for judge in settings.judges
        ),
        created=utc_now(),
        diversity=_diversity(bench, embedded, base, run),
        implicit=_implicit(bench, settings, tell),
        table=table_key(run_id, name),
    )
    if isinstance(found, Subset):  # another store's has its place there
        record_verdict(store, found, _verdict(evaluation, name, config))
    return keep_evaluation(store, key, evaluation)


def selecting_scorers(store: Store, subset: Subset | ForeignSubset, judges: Iterable[str] = ()) -> frozenset[str]:
    """The scorers by whose verdicts a subset's pairs were chosen or labelled: as judges of what was trained on it they
    are circular. Of another store's subset, whose snapshot tells it exactly, those of `judges` that may have been."""
    from ranking.features.pairs import PairTable

    if isinstance(subset, ForeignSubset):
        return used_of(parse_recipe(subset.subset.recipe, where=f"subset {subset.ref}"), judges)
    table = PairTable(store, get_snapshot(store, subset.snapshot.n), subset.dataset)
    return used_scorers(parse_recipe(subset.recipe, where=f"subset {subset.ref}"), table)


def _embedding_scorer(store: Store, settings: EvaluationConfig) -> str | None:
    if settings.diversity != AUTO:
        return settings.diversity
    if settings.prompts == TOYWORLD:
        return "clip-toy"
    judges = [judge for judge in settings.judges if judge != ORACLE]
    return next((judge for judge in judges if choose(judge, store=store).embedding is not None), None)


def _diversity(bench: _Bench, scorer: str | None, base: Samples, run: Samples) -> Diversity | None:
    if scorer is None or len(set(base.prompts)) == len(base.prompts):
        return None
    before, after = (embeddings(bench.store, scorer, samples, bench.device) for samples in (base, run))
    return diversity(scorer, before, after, base.prompts)


def _implicit(bench: _Bench, settings: EvaluationConfig, tell: Progress) -> Implicit | None:
    if settings.held_out is None or bench.held_out is None:
        return None
    way = Round(lambda _, done, total: tell("held-out", done, total))
    material = load_material(bench.held_out, bench.model, held_out_config(bench.config), way=way)
    policy = bench.model.load_trained(bench.store.local_folder(bench.output))
    return implicit_accuracy(bench.model, policy, material, of=material.rows.ref, draws=settings.held_out.draws)


def _verdict(evaluation: Evaluation, name: str, config: TrainConfig) -> Verdict:
    spread = evaluation.diversity
    return Verdict(
        run_id=evaluation.run_id,
        evaluation=name,
        method=config.method.name,
        steps=config.steps,
        judges=tuple(JudgeVerdict(j.judge, j.rate, j.low, j.high, j.circular) for j in evaluation.judges),
        diversity=spread.change.value / spread.base.value if spread and spread.base.value else None,
        created=evaluation.created,
    )


def check_settings(store: Store, settings: EvaluationConfig) -> str | None:
    """The scorer that tells how different images are, None where nobody does. UsageError for an unknown one, one
    without an embedding, and ties of somebody who is no judge."""
    strangers = [name for name in settings.ties if name not in settings.judges]
    if strangers:
        raise UsageError(
            f"ties names {strangers[0]}, which is no judge", hint=f"judges are {', '.join(settings.judges)}"
        )
    embedded = _embedding_scorer(store, settings)
    if embedded is not None:
        embedding_of(store, embedded)
    return embedded
