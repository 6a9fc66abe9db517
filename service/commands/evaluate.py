"""`pairsieve evaluate`: are runs better than their base, than each other, and what became of their variety."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json, open_store, split_names

if TYPE_CHECKING:
    from ranking.store.blobs import Store
    from training.blocks import EvaluationConfig
    from training.evaluation.compare import HeadToHead
    from training.evaluation.records import Evaluation
    from training.evaluation.winrates import WinRate
    from training.intervals import Estimate


def register(app: typer.Typer) -> None:
    app.command("evaluate")(evaluate)


def evaluate(
    runs: Annotated[list[str], typer.Argument(help="Ids of finished runs.", show_default=False)],
    prompts: Annotated[
        str | None, typer.Option(help='Text file, one prompt a line, or "toyworld".', show_default=False)
    ] = None,
    judges: Annotated[
        str | None, typer.Option(help="Scorers, by comma; also oracle in Toyworld.", show_default=False)
    ] = None,
    images_per_prompt: Annotated[int | None, typer.Option(min=1, max=1000, show_default=False)] = None,
    steps: Annotated[int | None, typer.Option(min=1, max=1000, help="Sampler steps.", show_default=False)] = None,
    guidance: Annotated[float | None, typer.Option(min=0, show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the first image.", show_default=False)] = None,
    ties: Annotated[
        list[str] | None,
        typer.Option(
            help="JUDGE=GAP up to which two images tie, or JUDGE=repeatability; repeatable.", show_default=False
        ),
    ] = None,
    diversity: Annotated[
        str | None, typer.Option(help='Scorer with an embedding, or "none".', show_default=False)
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(help='Measure implicit accuracy on this subset, or on "unseen" prompts.', show_default=False),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Write base above runs, same prompts and seeds, as PNG.", show_default=False)
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Images drawn at once; by memory if not given.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    json: Json = False,
) -> None:
    """Compare runs with their base model and each other: equal prompts, equal seeds, win rates with 95 % intervals.

    What was drawn before is not drawn again; an evaluation that was killed goes on where it was.
    """
    from ranking.errors import UsageError
    from ranking.runs import get_run
    from service.console import print_json, say, stage_bars
    from training.blocks import TOYWORLD, EvaluationConfig
    from training.config import parse_config

    store = open_store()
    changed: dict[str, Any] = {
        "prompts": prompts,
        "images_per_prompt": images_per_prompt,
        "inference_steps": steps,
        "guidance": guidance,
        "seed": seed,
        "judges": None if judges is None else tuple(split_names(judges)),
    }
    changed = {name: value for name, value in changed.items() if value is not None}
    if ties:
        changed["ties"] = _ties(ties)
    if diversity is not None:
        changed["diversity"] = None if diversity == "none" else diversity
    if held_out is not None:
        changed["held_out"] = {} if held_out == "unseen" else {"subset": held_out}
    # The first run's own settings are laid under, so that all are looked at alike.
    config = parse_config(get_run(store, runs[0]).config)
    if config.evaluation is None and config.model != TOYWORLD and (prompts is None or judges is None):
        raise UsageError(
            f"run {runs[0]} has no evaluation in its config: nobody said what it is to draw and who judges",
            hint="add --prompts FILE --judges NAME,…; `pairsieve scorers` lists judges",
        )
    settings = _settings((config.evaluation or EvaluationConfig()).model_dump() | changed)
    from training.evaluation.compare import best_by_median, head_to_head
    from training.evaluation.run import evaluate as run_evaluation

    distinct = list(dict.fromkeys(runs))
    with stage_bars(quiet=json) as stage:
        found = [run_evaluation(store, run, settings, device=device, batch=batch, progress=stage) for run in distinct]
    against = head_to_head(store, found)
    if sheet is not None:
        _write_sheet(store, found, sheet)
    if json:
        print_json(found[0] if len(found) == 1 else {"evaluations": found, "head_to_head": against})
        return
    for evaluation in found:
        print_evaluation(evaluation)
    for pair in against:
        _print_head_to_head(pair)
    for judge in settings.judges if against else ():
        say(f"Highest median by {judge}: run {best_by_median(found, judge).run_id}")
    if sheet is not None:
        say(f"The contact sheet is {sheet}.")


def print_evaluation(evaluation: Evaluation) -> None:
    """Tables of what judges say, of variety and of held-out pairs."""
    from service.console import out, print_table, say

    out.print()
    print_table(
        f"run {evaluation.run_id} against its base: {evaluation.images} images of {evaluation.prompts} prompts",
        _WON,
        [_won(judge) for judge in evaluation.judges],
    )
    if scored := [judge for judge in evaluation.judges if judge.gain is not None]:
        print_table(
            "scores",
            ["judge", "median base", "median run", "mean change", "95 %"],
            [_scored(judge) for judge in scored],
        )
    if any(judge.circular for judge in evaluation.judges):
        say("* had a part in choosing the pairs that the run was trained on: no independent judge")
    if (spread := evaluation.diversity) is not None:
        share = spread.change.value / spread.base.value if spread.base.value else 0.0
        out.print(
            f"variety of images of one prompt ({spread.of}): {spread.base.value:.4f} → {spread.run.value:.4f}, "
            f"{share:+.1%} ({_range(spread.change)})",
            highlight=False,
        )
    if (implicit := evaluation.implicit) is not None:
        out.print(
            f"implicit accuracy on {implicit.pairs} held-out pairs ({implicit.of}): {implicit.accuracy.value:.1%} "
            f"({implicit.accuracy.low:.1%} – {implicit.accuracy.high:.1%}), expectation over {implicit.draws} draws",
            highlight=False,
        )
        buckets = [f"{b.start:.0%}–{b.stop:.0%}: {b.accuracy.value:.1%}" for b in implicit.buckets]
        out.print(f"  of single draws by place in time: {', '.join(buckets)}", highlight=False)


_WON = ["judge", "win rate", "95 %", "wins", "ties", "losses", "p"]


def _won(judge: WinRate) -> list[Any]:
    return [
        _name(judge),
        f"{judge.rate:.1%}",
        f"{judge.low:.1%} – {judge.high:.1%}",
        *(judge.wins, judge.ties, judge.losses),
        "" if judge.p_value is None else f"{judge.p_value:.2g}",
    ]


def _scored(judge: WinRate) -> list[Any]:
    medians = [f"{each.value:.4g}" if each is not None else None for each in (judge.median_base, judge.median_run)]
    change = [f"{judge.gain.value:+.3g}", _range(judge.gain)] if judge.gain is not None else ["", ""]
    return [_name(judge), *medians, *change]


def _name(judge: WinRate) -> str:
    return f"{judge.judge}{' *' if judge.circular else ''}"


def _print_head_to_head(pair: HeadToHead) -> None:
    from service.console import out, print_table

    out.print()
    print_table(
        f"run {pair.run_id} against run {pair.against}",
        _WON,
        [_won(judge) for judge in pair.judges],
    )


def _range(estimate: Estimate) -> str:
    return f"{estimate.low:+.3g} to {estimate.high:+.3g}"


def _ties(given: list[str]) -> dict[str, Any]:
    from ranking.errors import UsageError

    found: dict[str, Any] = {}
    for each in given:
        judge, equals, gap = each.rpartition("=")
        try:
            found[judge] = gap if gap == "repeatability" else float(gap)
        except ValueError:
            equals = ""
        if not equals:
            raise UsageError(f"--ties {each!r} is not JUDGE=GAP", hint="write for example --ties pickscore-v1=0.1")
    return found


def _settings(values: dict[str, Any]) -> EvaluationConfig:
    from pydantic import ValidationError

    from ranking.errors import UsageError
    from ranking.validation import first_flaw
    from training.blocks import EvaluationConfig

    try:
        return EvaluationConfig.model_validate(values)
    except ValidationError as error:
        flaw = first_flaw(error)
        raise UsageError(f"{flaw.where} does not fit: {flaw.message}") from error


def _write_sheet(store: Store, found: list[Evaluation], path: Path) -> None:
    from ranking.errors import UsageError
    from training.evaluation.samples import read_samples
    from training.evaluation.sheet import contact_sheet

    rows = [("base", read_samples(store, found[0].base_samples))]
    rows += [(evaluation.run_id[:8], read_samples(store, evaluation.run_samples)) for evaluation in found]
    try:
        contact_sheet(rows).save(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"the contact sheet {path} cannot be written ({error})", hint="name a .png file") from error
