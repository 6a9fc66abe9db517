"""`pairsieve jobs` and `pairsieve runs`: what is planned, under way, done and given up, read from the store."""

from __future__ import annotations

import typer

from service.commands.options import Json, open_store


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


def runs(json: Json = False) -> None:
    """List the training runs, their state."""
    from ranking.runs import list_runs, run_death, run_state
    from ranking.settings import load_settings
    from service.console import print_json, print_table

    store = open_store()
    lease = load_settings().lease_seconds
    rows = []
    for run in list_runs(store):
        rows.append(
            {
                "run": run.run_id,
                "subset": run.subset,
                "planned": run.created[:19],
                "state": run_state(store, run.run_id, lease_seconds=lease),
                "reason": run_death(store, run.run_id) or "",
            }
        )
    columns = ["run", "subset", "planned", "state", "reason"]
    print_json(rows) if json else print_table("runs", columns, [[row[name] for name in columns] for row in rows])
