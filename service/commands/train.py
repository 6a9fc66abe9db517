"""`pairsieve train` and `pairsieve evaluate`: from a subset to a model, and whether it is better."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.options import Json, open_store, split_names

if TYPE_CHECKING:
    from training.evaluation.records import Evaluation


def register(app: typer.Typer) -> None:
    app.command("train")(train)
    app.command("evaluate")(evaluate)


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


def evaluate(
    run: Annotated[str, typer.Argument(help="Id of a finished run.", show_default=False)],
    prompts: Annotated[
        str | None, typer.Option(help='Text file, one prompt a line, or "toyworld".', show_default=False)
    ] = None,
    judges: Annotated[
        str | None, typer.Option(help="Scorers, by comma; also oracle in Toyworld.", show_default=False)
    ] = None,
    images_per_prompt: Annotated[int | None, typer.Option(min=1, max=1000, show_default=False)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    json: Json = False,
) -> None:
    """Compare a run with its base model: equal prompts, equal seeds, win rate with a 95 % interval."""
    from ranking.runs import get_run
    from service.console import print_json, stage_bars
    from training.blocks import EvaluationConfig
    from training.config import parse_config

    store = open_store()
    plan = get_run(store, run)
    values = (parse_config(plan.config).evaluation or EvaluationConfig()).model_dump()
    changed = {"prompts": prompts, "images_per_prompt": images_per_prompt}
    values |= {name: value for name, value in changed.items() if value is not None}
    if judges is not None:
        values["judges"] = tuple(split_names(judges))
    from training.evaluation.run import evaluate as run_evaluation

    with stage_bars(quiet=json) as stage:
        found = run_evaluation(store, run, EvaluationConfig(**values), device=device, progress=stage)
    print_json(found) if json else print_evaluation(found)


def print_evaluation(evaluation: Evaluation) -> None:
    from service.console import out, print_table

    out.print()
    print_table(
        f"run {evaluation.run_id} against its base: {evaluation.images} images of {evaluation.prompts} prompts",
        ["judge", "win rate", "95 %", "wins", "ties", "losses", "mean base", "mean run"],
        [
            [j.judge, f"{j.rate:.1%}", f"{j.low:.1%} – {j.high:.1%}", j.wins, j.ties, j.losses, j.mean_base, j.mean_run]
            for j in evaluation.judges
        ],
    )
