"""`pairsieve reward`: train your own reward model on a dataset's pairs, and see how good the trained ones are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json, open_store

if TYPE_CHECKING:
    from ranking.store.blobs import Store
    from ranking.trained import TrainedScorer

rewards = typer.Typer(help="Train scorers of your own on preference pairs.", no_args_is_help=True)

_PROTOCOLS = {"pickapic": "Pick-a-Pic", "imagerewarddb": "ImageRewardDB", "hpdv2": "HPDv2"}


def register(app: typer.Typer) -> None:
    rewards.command("train")(train)
    rewards.command("list")(list_)
    rewards.command("show")(show)
    app.add_typer(rewards, name="reward")


def train(
    dataset: Annotated[str, typer.Option(help="A dataset, or a subset NAME@VERSION.", show_default=False)],
    name: Annotated[str, typer.Option(help="What the scorer will be called.", show_default=False)],
    config: Annotated[Path | None, typer.Option(help="Config as YAML; see docs/reward.md.", show_default=False)] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", help="key=value laid over the config; repeatable.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Train a reward model on pairs, measure it on held-out prompts, and register it as a scorer.

    The same command again finds it done, or goes on where it was stopped. Trained on other pairs or with another
    config, it becomes the next version of the name.
    """
    from service.console import print_json, say, stage_bars
    from training.reward.config import load_reward_config

    wanted = load_reward_config(config, set)
    store = open_store()
    from training.reward.train import train_reward

    with stage_bars(quiet=json) as stage:
        found = train_reward(store, dataset, name, wanted, progress=stage)
    report = _report(store, found)
    if json:
        print_json(_plain(found) | {"report": report})
        return
    _print(found, report)
    say(f"Score with it: pairsieve score {found.facts['dataset']} --scorers {found.name}")


def list_(json: Json = False) -> None:
    """Show the trained scorers, every version, with their accuracies on held-out prompts."""
    from ranking.trained import list_trained
    from service.console import print_json, print_table

    found = list_trained(open_store())
    if json:
        print_json([_plain(each) for each in found])
        return
    rows = [
        [
            each.ref,
            each.kind,
            each.facts["source"],
            each.facts["pairs"]["training"],
            *(_percent(each.facts["accuracies"].get(protocol)) for protocol in _PROTOCOLS),
            each.created[:16].replace("T", " "),
        ]
        for each in found
    ]
    print_table("trained scorers", ["scorer", "kind", "pairs of", "trained on", *_PROTOCOLS.values(), "made"], rows)


def show(
    name: Annotated[str, typer.Argument(help="A trained scorer.", show_default=False)],
    version: Annotated[int | None, typer.Option(help="Which one, if not the newest.", show_default=False)] = None,
    page: Annotated[Path | None, typer.Option(help="Write its report to this HTML file.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Show how a trained scorer was made and how it does on held-out prompts beside its base and other scorers."""
    from ranking.trained import get_trained
    from service.console import print_json, say

    store = open_store()
    found = get_trained(store, name, version=version)
    report = _report(store, found)
    if page is not None:
        _write(page, store.get(found.paper("report.html")))
    if json:
        print_json(_plain(found) | {"report": report})
        return
    _print(found, report)
    if page is not None:
        say(f"The report is in {page}.")


def _write(page: Path, data: bytes) -> None:
    from ranking.errors import UsageError

    try:
        page.write_bytes(data)
    except OSError as error:
        raise UsageError(f"the report cannot be written to {page} ({error.strerror})") from error


def _report(store: Store, found: TrainedScorer) -> dict[str, Any]:
    from ranking.names import parse_json

    key = found.paper("report.json")
    report: dict[str, Any] = parse_json(store.get(key), where=key)
    return report


def _plain(found: TrainedScorer) -> dict[str, Any]:
    shown = ("name", "version", "kind", "summary", "base", "training", "facts", "created")
    return {name: getattr(found, name) for name in shown}


def _print(found: TrainedScorer, report: dict[str, Any]) -> None:
    from service.console import out, print_facts, print_table

    facts, comparison = found.facts, report["comparison"]
    counted = ", ".join(f"{count:,} {split}" for split, count in facts["pairs"].items())
    print_facts(
        {
            "scorer": found.ref,
            "made": found.summary,
            "pairs": counted,
            "left out": ", ".join(f"{count:,} by {why}" for why, count in facts["left_out"].items()) or "none",
            "steps": f"{facts['steps']:,}, weights of step {facts['best_step']:,}: {facts['ended']}",
        }
    )
    out.print()
    print_table(
        f"{comparison['pairs']:,} held-out pairs of {comparison['prompts']:,} prompts, accuracy in percent [95 %]",
        ["", *_PROTOCOLS.values(), "over base", "calibration error"],
        [
            [
                _called(each, facts),
                *(_interval(each["accuracies"][protocol]) for protocol in _PROTOCOLS),
                _more(each["over_base"]),
                f"{each['calibration']['ece']:.3f}",
            ]
            for each in comparison["judged"]
        ]
        + [["toss of a coin", *(_percent(comparison["chance"][protocol]) for protocol in _PROTOCOLS), "", ""]]
        + [["most frequent verdict", _percent(comparison["majority"]), "", "", "", ""]],
    )


def _called(judged: dict[str, Any], facts: dict[str, Any]) -> str:
    names = {"trained": "trained", "base": f"{facts['base']}, before"}
    return names.get(judged["role"], f"{judged['name']}{', has seen some' if judged['role'] == 'seen' else ''}")


def _interval(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return "–"
    return f"{_percent(found['value'])} [{_percent(found['low'])} – {_percent(found['high'])}]"


def _more(over: dict[str, Any]) -> str:
    if not over or over["pickapic"]["value"] is None:
        return "–"
    value, low, high = (100 * over["pickapic"][part] for part in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f} – {high:+.1f}]"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
