"""`pairsieve train`: from a subset to a model, and whether it is better."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.evaluate import print_evaluation
from service.commands.options import Json, open_store

if TYPE_CHECKING:
    from training.evaluation.records import Evaluation


def register(app: typer.Typer) -> None:
    app.command("train")(train)


def train(
    subset: Annotated[str, typer.Option(help="NAME@VERSION, or NAME for the latest.", show_default=False)],
    config: Annotated[Path | None, typer.Option(help="Training config as YAML.", show_default=False)] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", help="key=value laid over the config; repeatable.", show_default=False)
    ] = None,
    skip_evaluation: Annotated[bool, typer.Option(help="Train only.")] = False,
    json: Json = False,
) -> None:
    """Train on a subset with Diffusion-DPO, here and now, then compare the result with its base model.

    The run's id follows from subset and config: the same command again finds the run done.
    """
    from ranking.runs import plan_run
    from service.console import print_facts, print_json, stage_bars
    from training.config import load_config

    wanted = load_config(config, set)
    store = open_store()
    run = plan_run(store, subset, wanted.model_dump(mode="json"))
    from training.evaluation.run import evaluate as run_evaluation
    from training.trainer import train as run_training

    wants_evaluation = wanted.evaluation is not None and not skip_evaluation
    with stage_bars(quiet=json) as stage:

        def compare(output: str | None) -> Evaluation | None:
            if not wants_evaluation:
                return None
            return run_evaluation(store, run.run_id, output=output, device=wanted.device, progress=stage)

        result = run_training(store, run.run_id, progress=stage, before_done=compare)
        evaluation = compare(None)
    if json:
        print_json({"run": run.run_id, "result": asdict(result), "evaluation": evaluation})
        return
    print_facts({"run": run.run_id, "subset": run.subset} | asdict(result))
    if evaluation:
        print_evaluation(evaluation)
