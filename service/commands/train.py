"""`pairsieve train`: from a subset to a model, and whether it is better."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json, open_store
from training.progress import roughly

if TYPE_CHECKING:
    from ranking.store.blobs import Store
    from service.console import Bars
    from training.config import TrainConfig
    from training.evaluation.records import Evaluation
    from training.watch.meter import Step


def register(app: typer.Typer) -> None:
    app.command("train")(train)


def train(
    subset: Annotated[
        str | None, typer.Option(help="NAME@VERSION, or NAME for the latest.", show_default=False)
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Training config as YAML.", show_default=False)] = None,
    preset: Annotated[
        str | None, typer.Option(help="What the config is laid over, as sd15-dpo-lora.", show_default=False)
    ] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", help="key=value laid over the config; repeatable.", show_default=False)
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--from", help="Server that has the subset; its key in PAIRSIEVE_TOKEN.", show_default=False),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Devices of this machine to train on.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what it would do and cost, and stop.")] = False,
    show_config: Annotated[bool, typer.Option(help="Print the whole config as YAML, and stop.")] = False,
    from_scratch: Annotated[bool, typer.Option(help="Forget the run's checkpoints and begin again.")] = False,
    skip_evaluation: Annotated[bool, typer.Option(help="Train only.")] = False,
    json: Json = False,
) -> None:
    """Train a diffusion model on a subset, here and now, then compare it with its base model.

    The run's id follows from subset and config: the same command again goes on where the run was cut off, and finds it
    done when it is. Ctrl-C puts its state aside and ends.
    """
    from ranking.errors import UsageError
    from training.config import load_config
    from training.processes import check_launched, is_first, world

    settings = list(set or [])
    if processes is not None or world() > 1:
        settings.append(f"processes={processes or world()}")
    wanted = load_config(config, settings, preset=preset)
    if (show_config or dry_run) and not is_first():
        return
    if show_config:
        _show(wanted, json=json)
        return
    check_launched(wanted.processes)
    if subset is None:
        raise UsageError("no subset is named", hint="--subset NAME@VERSION; `pairsieve subset list` has them")
    store = open_store()
    if url is not None:
        subset = _fetched(store, url, subset)
    if dry_run:
        _plan(store, subset, wanted, json=json)
        return
    _train(store, subset, wanted, from_scratch=from_scratch, evaluated=not skip_evaluation, json=json)


def _train(store: Store, subset: str, config: TrainConfig, *, from_scratch: bool, evaluated: bool, json: bool) -> None:
    from ranking.runs import is_planned, plan_run, run_id_of, run_result, run_state
    from ranking.subsets.foreign import find_subset
    from service.console import out, print_facts, print_json, say, stage_bars
    from service.runs import read_run
    from training.evaluation.records import kept_evaluation
    from training.loop.stops import StoppedError
    from training.processes import gathered, is_first
    from workers.attempts import release_run

    values = config.model_dump(mode="json")
    known = run_id_of(find_subset(store, subset).ref, values)
    done = is_planned(store, known) and run_state(store, known) == "done"
    if not is_first():
        if not done:
            from training.trainer import follow

            follow(store, known, config=config)
        return
    plan = None if done else _plan(store, subset, config, json=json, quiet=json)
    run = plan_run(store, subset, values)
    wanted = config.evaluation if evaluated else None
    kept = kept_evaluation(store, run.run_id, wanted) if done and wanted is not None else None
    if done and (kept is not None or wanted is None):
        result, evaluation = run_result(store, run.run_id), kept
    else:
        try:
            with stage_bars(quiet=json) as stage, nullcontext() if done else gathered(config.processes, run.run_id):
                result, evaluation = _trained(
                    store, run.run_id, config, compared=wanted is not None, from_scratch=from_scratch, stage=stage
                )
        except (StoppedError, KeyboardInterrupt):
            release_run(store, run.run_id, aside=True)  # so that nobody is told that it is running
            raise
    curves = read_run(store, run.run_id).curves
    if json:
        told = {"headline": curves.headline, "warnings": [warning.record() for warning in curves.warnings]}
        print_json({"run": run.run_id, "plan": plan, "result": result, "evaluation": evaluation} | told)
        return
    print_facts({"run": run.run_id, "subset": run.subset} | dict(_ended(store, result)))
    out.print()
    out.print(curves.headline, highlight=False, markup=False, soft_wrap=True)
    for warning in curves.warnings:
        kind = "warning" if warning.grave else "note"
        say(f"{kind}: {warning.message}; {warning.todo}")
    if evaluation:
        from service.commands.evaluate import print_evaluation

        print_evaluation(evaluation)


def _trained(
    store: Store, run_id: str, config: TrainConfig, *, compared: bool, from_scratch: bool, stage: Bars
) -> tuple[dict[str, Any], Evaluation | None]:
    """The result of the run, trained unless it is done, and its evaluation if it is to be `compared` with its base."""
    from service.console import say
    from training.evaluation.run import evaluate
    from training.trainer import train as run_training

    def compare(output: str | None) -> Evaluation | None:
        return evaluate(store, run_id, output=output, device=config.device, progress=stage) if compared else None

    result = run_training(
        store,
        run_id,
        progress=stage,
        before_done=compare,
        say=say,
        on_step=lambda step: _note(stage, step),
        from_scratch=from_scratch,
    )
    return asdict(result), compare(None)


def _plan(store: Store, subset: str, config: TrainConfig, *, json: bool, quiet: bool = False) -> dict[str, Any]:
    """Look at the run and say what it will do; nothing is written."""
    from ranking.checkpoints import list_checkpoints
    from ranking.runs import is_planned, run_id_of, run_state
    from ranking.subsets.foreign import find_subset
    from service.console import print_json, waiting
    from service.run_plan import plan_of, print_plan

    subset = find_subset(store, subset).ref  # before what takes seconds to import
    with waiting("looking at subset and model", quiet=json):
        from training.intent import expected_hours, look

        intent = look(store, subset, config)
        hours = expected_hours(intent)
    run = run_id_of(intent.subset.ref, config.model_dump(mode="json"))
    state = "new"
    if is_planned(store, run) and run_state(store, run) == "done":
        state = "done"
    elif checkpoints := list_checkpoints(store, run):
        state = f"goes on from step {checkpoints[-1].step}"
    plan = plan_of(intent, hours, run=run, state=state)
    if not quiet:
        print_json(plan) if json else print_plan(intent, hours, run=run, state=state)
    return plan


def _fetched(store: Store, url: str, subset: str) -> str:
    import os

    from service.console import waiting
    from training.data.rest import TOKEN, fetch_subset

    with waiting(f"fetching {subset} from {url}"):
        return fetch_subset(store, url, subset, token=os.environ.get(TOKEN)).ref


def _show(config: TrainConfig, *, json: bool) -> None:
    import yaml

    from service.console import out, print_json

    values = config.model_dump(mode="json")
    if json:
        print_json(values)
    else:
        out.out(yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip(), highlight=False)


def _ended(store: Store, result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines of a name and what a run left."""
    yield "output", f"{store.uri}/{result['output']}"
    processes = f", {result['processes']} processes" if result.get("processes", 1) > 1 else ""
    yield "steps", f"{result['steps']:,} in {roughly(result['seconds'])} on {result['device']}{processes}"
    if result.get("resumed"):
        yield "went on", f"from step {result['resumed']:,}"
    without = [
        f", {result[name]:,} {said}"
        for name, said in (("skipped", "not readable"), ("taken_down", "taken down"), ("ties", "ties left out"))
        if result.get(name)
    ]
    yield "pairs", f"{result['pairs']:,}{''.join(without)}"
    yield "loss", f"{result['first_loss']:.4f} in the first step, {result['last_loss']:.4f} in the last"


def _note(stage: Bars, step: Step) -> None:
    accuracy = "" if step.implicit_accuracy != step.implicit_accuracy else f", accuracy {step.implicit_accuracy:.2f}"
    stage.note("train", f"loss {step.loss:.4f}{accuracy}")
