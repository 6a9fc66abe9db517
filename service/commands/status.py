"""`pairsieve jobs` and `pairsieve runs`: what is planned, under way, done and given up, read from the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json, open_store

if TYPE_CHECKING:
    from ranking.store.blobs import Store


def register(app: typer.Typer) -> None:
    app.command("jobs")(jobs)
    app.command("runs")(runs)


def jobs(json: Json = False) -> None:
    """List the scoring jobs and how far each is."""
    from ranking.names import scorer_name
    from ranking.plan import dead_slices, list_plans, progress
    from service.console import print_json, print_table

    store = open_store()
    rows = []
    for plan in list_plans(store):
        state = progress(store, plan)
        dead = dead_slices(store, plan)
        rows.append(
            {
                "job": plan.job_id,
                "dataset": f"{plan.dataset} revision {plan.revision}",
                "scorers": ", ".join(scorer_name(scorer_id) for scorer_id in plan.scorer_ids),
                "done": f"{state.units_done} of {state.units_total}",
                "given up": state.units_dead,
                "reason": dead[0].reason if dead else "",
            }
        )
    columns = ["job", "dataset", "scorers", "done", "given up", "reason"]
    print_json(rows) if json else print_table("jobs", columns, [[row[name] for name in columns] for row in rows])


def runs(
    run: Annotated[str | None, typer.Argument(help="A run's id: how far it is.", show_default=False)] = None,
    card: Annotated[
        Path | None,
        typer.Option(help="Write its model card, with every evaluation by now, to this file.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """List the training runs, their state; or tell how far one is, its last numbers, and where its model lies."""
    from ranking.runs import list_runs, run_death, run_state
    from ranking.settings import load_settings
    from service.console import print_json, print_table

    store = open_store()
    if card is not None:
        _write_card(store, run, card)
    if run is not None:
        _print_run(store, run, json=json)
        return
    lease = load_settings().lease_seconds
    rows = []
    for plan in list_runs(store):
        rows.append(
            {
                "run": plan.run_id,
                "subset": plan.subset,
                "planned": plan.created[:19],
                "state": run_state(store, plan.run_id, lease_seconds=lease),
                "reason": run_death(store, plan.run_id) or "",
            }
        )
    columns = ["run", "subset", "planned", "state", "reason"]
    print_json(rows) if json else print_table("runs", columns, [[row[name] for name in columns] for row in rows])


def _write_card(store: Store, run: str | None, path: Path) -> None:
    from ranking.errors import UsageError
    from training.run_card import current_card

    if run is None:
        raise UsageError("whose model card --card is to write is not said", hint="pairsieve runs RUN --card FILE")
    text = current_card(store, run)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the model card {path} cannot be written ({error.strerror})") from error


def _print_run(store: Store, run_id: str, *, json: bool) -> None:
    from ranking.checkpoints import list_checkpoints
    from ranking.runs import run_attempts
    from ranking.settings import load_settings
    from service.console import out, print_facts, print_json, say
    from service.runs import read_run

    found = read_run(store, run_id, lease_seconds=load_settings().lease_seconds)
    curves, checkpoints, tried = found.curves, list_checkpoints(store, run_id), run_attempts(store, run_id)
    output = (found.result or {}).get("output")
    facts = {
        "run": run_id,
        "subset": found.plan.subset,
        "method": found.method,
        "state": found.state,
        "reason": found.reason,
        "steps_done": curves.steps_done,
        "steps": found.steps_total,
        "seconds_left": found.seconds_left,
        "latest": {name: value for name, value in curves.latest.items() if name != "by_time"},
        "headline": curves.headline,
        "warnings": [warning.record() for warning in curves.warnings],
        "checkpoint": None if not checkpoints else {"step": checkpoints[-1].step, "bytes": checkpoints[-1].bytes},
        "attempts": len(tried),
        "worker": tried[-1].worker if tried else None,
        "output": None if output is None else f"{store.uri}/{output}",
    }
    if json:
        print_json(facts)
        return
    print_facts(_for_people(facts))
    out.print()
    out.print(curves.headline, highlight=False, markup=False, soft_wrap=True)
    for warning in curves.warnings:
        say(f"{'warning' if warning.grave else 'note'}: {warning.message}; {warning.todo}")


def _for_people(facts: dict[str, Any]) -> dict[str, Any]:
    from service.dashboard.text import duration, size

    latest, checkpoint, left = facts["latest"], facts["checkpoint"], facts["seconds_left"]
    numbers = ("loss", "implicit_accuracy", "winner_error", "loser_error", "gradient_norm", "learning_rate")
    told = [f"{name.replace('_', ' ')} {latest[name]:.4g}" for name in numbers if latest.get(name) is not None]
    steps = f"{facts['steps_done']} of {facts['steps']}" + (f", {duration(left)} left" if left else "")
    reason = f": {facts['reason']}" if facts["reason"] else ""
    return {
        "run": facts["run"],
        "subset": facts["subset"],
        "method": facts["method"],
        "state": facts["state"] + reason,
        "steps": steps,
        "last step": ", ".join(told) or "none yet",
        "checkpoint": f"at step {checkpoint['step']}, {size(checkpoint['bytes'])}" if checkpoint else "none",
        "attempts": f"{facts['attempts']}, the last by {facts['worker']}" if facts["worker"] else "none yet",
        "output": facts["output"] or "when it is done",
    }
