"""The model card of a finished run: what the store knows of it, put beside its weights. As nothing in the store is
written over, that one has the evaluations of its day; a newer one is made when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

from ranking.errors import NotFoundError
from ranking.names import canonical_json, parse_json
from ranking.runs import get_run
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training.config import TrainConfig
from training.evaluation.records import list_evaluations
from training.models.card import FILE, Card, Result, render
from training.models.describe import Description
from training.models.lora import FILE as ADAPTERS


def put_card(
    store: Store,
    run_id: str,
    *,
    config: TrainConfig,
    subset: Subset,
    description: Description,
    result: Mapping[str, Any],
) -> None:
    """Write `README.md` into the run's output, with the evaluations that there are by then, and what it was made from
    beside the run; a card that is there stays. `result` is what the run's marker will hold."""
    output = str(result["output"])
    card = Card(
        run=run_id,
        family=description.family,
        base=description.name,
        commit=description.commit,
        fingerprint=str(result["model_fingerprint"]),
        holds=_holds(store, output),
        without_t5=description.family == "sd3" and "text_encoder_3" not in description.configs,
        method=config.method.name,
        subset=subset.ref,
        subset_sha256=subset.sha256,
        snapshot=subset.snapshot.n,
        snapshot_sha=subset.snapshot.sha,
        dataset=subset.dataset,
        recipe=subset.recipe,
        config=config.model_dump(mode="json"),
        facts=_facts(config, result),
    )
    store.put_if_absent(_record(run_id), canonical_json(asdict(card)))
    store.put_if_absent(f"{output}/{FILE}", current_card(store, run_id).encode())


def current_card(store: Store, run_id: str) -> str:
    """The card of a finished run with every evaluation that there is now. NotFoundError for a run that is not done, or
    was before cards could be made anew."""
    key = _record(get_run(store, run_id).run_id)
    if not store.exists(key):
        raise NotFoundError(
            f"run {run_id} has nothing to make a model card from", hint="a run has when it is done; train it first"
        )
    card = Card(**parse_json(store.get(key), where=key))
    results = [
        Result(
            judge.judge,
            judge.rate,
            judge.low,
            judge.high,
            images=evaluation.images,
            prompts=evaluation.prompts,
            circular=judge.circular,
        )
        for evaluation in list_evaluations(store, run_id)
        for judge in evaluation.judges
    ]
    return render(replace(card, results=results))


def _record(run_id: str) -> str:
    return f"runs/{run_id}/card.json"


def _holds(store: Store, output: str) -> str:
    if store.exists(f"{output}/{ADAPTERS}"):
        return "adapters"
    return "pipeline" if store.exists(f"{output}/model_index.json") else "denoiser"


def _facts(config: TrainConfig, result: Mapping[str, Any]) -> dict[str, str]:
    return {
        "pairs seen": f"{result['pairs']:,}",
        "steps": f"{result['steps']:,} of {config.effective_batch:,} pairs",
        "learning rate": f"{config.peak_learning_rate:.4g}, {config.optimiser}",
        "precision": config.precision,
        "first and last loss": f"{result['first_loss']:.4f}, {result['last_loss']:.4f}",
        "time": f"{result['seconds']:,.0f} s on {result['processes']} × {result['device']}",
        "software": f"pairsieve {version('pairsieve')}, diffusers {version('diffusers')}, torch {version('torch')}",
    }
