"""`pairsieve demo`: the whole loop on Toyworld, offline, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import Json


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    folder: Annotated[Path, typer.Option(help="Where data, store and report go.")] = Path("pairsieve-demo"),
    pairs: Annotated[int, typer.Option(min=50, max=100_000, help="Preference pairs to make.")] = 3600,
    noise: Annotated[float, typer.Option(min=0, max=0.5, help="Share of labels that are flipped.")] = 0.25,
    top: Annotated[float, typer.Option(min=0.1, max=100, help="Percent of the pairs to keep.")] = 5.33,
    steps: Annotated[int, typer.Option(min=1, max=10_000, help="Training steps of each model.")] = 160,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json: Json = False,
) -> None:
    """Make pairs, score them, keep the best, train on them, and see whether it helped. Needs no network.

    What was done before is reused; the figures are printed as they come out.
    """
    from service.demo.run import DemoOptions, run_demo
    from service.demo.table import print_outcome

    options = DemoOptions(folder=folder, pairs=pairs, noise=noise, top=top, steps=steps, seed=seed)
    outcome = run_demo(options, quiet=json)
    print_outcome(outcome, json=json)
