"""`pairsieve score`: put numbers on images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.options import Json, open_store, split_names

if TYPE_CHECKING:
    from ranking.plan import Plan
    from ranking.store.blobs import Store
    from workers.drive import DriveReport
    from workers.engine.report import Stage

_POLL_SECONDS = 0.5


def register(app: typer.Typer) -> None:
    app.command("score")(score)


def score(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset.", show_default=False)],
    scorers: Annotated[str, typer.Option(help="Scorers, by comma; see `pairsieve scorers`.", show_default=False)],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, bf16, fp16: of all scorers with weights; `name:bf16` is for one.", show_default=False),
    ] = None,
    watch: Annotated[bool, typer.Option(help="Leave the work to running workers and watch it.")] = False,
    json: Json = False,
) -> None:
    """Score every image of a dataset that has not been scored, and commit as it goes; stop and go on at will."""
    from ranking.errors import PairsieveError
    from ranking.plan import create_plan, progress
    from service.console import print_facts, print_json
    from workers.engine.report import bottleneck, stages_of
    from workers.scorers.registry import in_precision, resolve
    from workers.scorers.runtime import check_device

    store = open_store()
    names = split_names(scorers)
    if precision is not None:
        names = in_precision(names, precision, store=store)
    ids = resolve(names, store=store)
    check_device(device)
    plan = create_plan(store, dataset, ids.values())
    report = None
    if watch:
        _watch(store, plan, quiet=json)
    else:
        report = score_now(store, plan, list(ids.values()), device=device, quiet=json)
    state = progress(store, plan)
    facts = {
        "job": plan.job_id,
        "dataset": f"{plan.dataset} revision {plan.revision}",
        "units": f"{state.units_done} of {state.units_total} committed",
        "scores": state.items_done,
    }
    failed: dict[str, int] = {}
    for slice_report in report.reports if report else ():
        for statuses in slice_report.failed_by.values():
            for status, count in statuses.items():
                failed[status] = failed.get(status, 0) + count
    facts["without score"] = ", ".join(f"{count:,} {status}" for status, count in failed.items()) or "none"
    stages = stages_of(report.reports, report.elapsed) if report and report.reports else []
    constant = sorted({each for slice_report in report.reports for each in slice_report.constant} if report else ())
    if json:
        found = {"job": plan.job_id, "progress": state, "failed": failed, "constant": constant}
        print_json(found | {"stages": stages, "bottleneck": bottleneck(stages) if stages else None})
    else:
        if constant:
            facts["constant"] = f"{', '.join(constant)} gave every image of some slice the same score"
        if stages:
            facts["held up by"] = bottleneck(stages)
        print_facts(facts)
        if stages:
            print_stages(stages)
    if report and report.errors:
        raise PairsieveError(
            f"{len(report.errors)} slices failed, the first: {report.errors[0]}",
            code="slices-failed",
            hint="run the command again to retry",
        )


def score_now(store: Store, plan: Plan, scorers: list[str], *, device: str, quiet: bool) -> DriveReport:
    """Score the open slices of a plan in this process, with a bar; loads no model where nothing is open."""
    from ranking.plan import open_slices
    from service.console import progress_bar
    from workers.drive import DriveReport, score_here
    from workers.scorers.registry import load_committee

    total = sum(piece.rows for piece, _ in open_slices(store, plan))
    if not total:
        return DriveReport((), (), ())
    with progress_bar("scoring images", quiet=quiet) as advance:
        advance(0, total)
        committee = load_committee(scorers, device, store=store)
        done = 0

        def count(items: int) -> None:
            nonlocal done
            done += items
            advance(done, total)

        return score_here(store, plan, committee, count)


def print_stages(stages: Sequence[Stage]) -> None:
    """What each stage can do and how much of the time it did."""
    from service.console import print_table

    rows = [
        [stage.name, f"{stage.rate:,.0f}" if stage.seconds else "–", f"{stage.share:.0%}", f"{1 - stage.share:.0%}"]
        for stage in stages
    ]
    print_table("stages", ["stage", "images/s while at work", "at work", "waiting"], rows)


def _watch(store: Store, plan: Plan, *, quiet: bool) -> None:
    from ranking.errors import PairsieveError
    from ranking.plan import dead_slices, progress
    from service.console import progress_bar, say
    from workers.publish import publish_plan

    publish_plan(store, plan)
    if not quiet:
        say("Waiting for workers; Ctrl-C leaves the job to them.")
    with progress_bar("scores committed", quiet=quiet) as advance:
        while True:
            state = progress(store, plan)
            advance(state.items_done, state.items_total)
            if not state.units_open:
                break
            time.sleep(_POLL_SECONDS)
    dead = dead_slices(store, plan)
    if dead:
        raise PairsieveError(f"{len(dead)} slices were given up, the first: {dead[0].reason}", code="slices-dead")
