"""`pairsieve toyworld`: write practice data whose truth is known."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from service.commands.options import Json


def register(app: typer.Typer) -> None:
    app.command("toyworld")(toyworld)


def toyworld(
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must be absent or empty.", show_default=False)],
    pairs: Annotated[int, typer.Option(min=1, max=1_000_000, help="Preference pairs.")] = 3600,
    noise: Annotated[float, typer.Option(min=0, max=0.5, help="Share of labels that are flipped.")] = 0.25,
    noise_kind: Annotated[
        Literal["mixed", "uniform", "raters", "hard"],
        typer.Option(help="Where they are: in careless raters and everywhere, alike, in some raters, in hard pairs."),
    ] = "mixed",
    raters: Annotated[int, typer.Option(min=1, max=100_000)] = 40,
    pixels: Annotated[int, typer.Option(min=32, max=1024, help="Side of the pictures.")] = 64,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json: Json = False,
) -> None:
    """Write Toyworld pairs in the Pick-a-Pic v2 schema: FOLDER/data/*.parquet, and FOLDER/truth.parquet beside."""
    from ranking.errors import UsageError
    from service.console import print_facts, print_json
    from training.toyworld.dataset import write_dataset

    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is not an empty folder", hint="choose another one")
        written = write_dataset(
            folder, pairs=pairs, noise=noise, noise_kind=noise_kind, raters=raters, seed=seed, pixels=pixels
        )
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror})", hint="choose another one") from error
    if json:
        print_json(written)
        return
    facts = asdict(written) | {"data": str(written.data), "truth": str(written.truth)}
    print_facts({name.replace("_", " "): value for name, value in facts.items()})
