"""`pairsieve style`: a style as preference. Sets of pairs in a style, how near runs come to it, and studies of
methods."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.options import Json, open_store

if TYPE_CHECKING:
    from training.style.measure import Measured, StyleReport


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Style alignment: make preference sets of a style, measure runs.")
    group.command("make")(make)
    group.command("measure")(measure)
    group.command("study")(study)
    app.add_typer(group, name="style")


def make(
    folder: Annotated[Path, typer.Argument(help="New folder for the style set.", show_default=False)],
    dataset: Annotated[
        str | None, typer.Option(help="Dataset whose winning pictures are put into the style.", show_default=False)
    ] = None,
    style: Annotated[str, typer.Option(help="sketch, winter or van-gogh.")] = "sketch",
    images: Annotated[
        Path | None, typer.Option(help="Or: a folder of styled pictures of your own.", show_default=False)
    ] = None,
    originals: Annotated[
        Path | None, typer.Option(help="With --images: the originals, by the same names.", show_default=False)
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="What a CLIP is asked of the style; its own by default.", show_default=False),
    ] = None,
    pictures: Annotated[int | None, typer.Option(min=2, help="At most so many.", show_default=False)] = None,
    held_out: Annotated[float, typer.Option(min=0.01, max=0.99, help="Share of prompts kept to measure by.")] = 0.2,
    json: Json = False,
) -> None:
    """Write pairs whose preferred picture is in a style and whose rejected one is its original.

    FOLDER/data is for `pairsieve ingest`, FOLDER for `pairsieve style measure`.
    """
    from ranking.errors import UsageError
    from service.console import print_facts, print_json

    if (images is None) == (dataset is None):
        raise UsageError("a style set is made of --dataset or of --images", hint="give one of them")
    if images is not None and originals is None:
        raise UsageError("--images needs --originals", hint="name the folder of the pictures before they were styled")
    from training.style.folders import folder_couples
    from training.style.sets import dataset_couples, write_style_set
    from training.style.transforms import style as named_style

    if images is not None and originals is not None:
        couples = folder_couples(images, originals)
        called, asked, source = f"folder:{images.name}", text or "", images.name
    else:
        assert dataset is not None
        chosen = named_style(style)
        couples = dataset_couples(open_store(), dataset, chosen, pictures=pictures)
        called, asked, source = chosen.id, chosen.text if text is None else text, dataset
    made = write_style_set(folder, couples, style=called, text=asked, source=source, held_out=held_out)
    print_json(made) if json else print_facts(asdict(made) | {"folder": str(folder)})


def measure(
    folder: Annotated[Path, typer.Argument(help="A style set.", show_default=False)],
    runs: Annotated[list[str], typer.Argument(help="Ids of finished runs.", show_default=False)],
    base: Annotated[
        str | None, typer.Option(help="Model to compare with; the first run's by default.", show_default=False)
    ] = None,
    features: Annotated[str, typer.Option(help='A scorer with an embedding, or "inception".')] = "clip-l14",
    texture: Annotated[str, typer.Option(help='"random", or "vgg19" where its weights are here.')] = "random",
    images_per_prompt: Annotated[int, typer.Option(min=1, max=1000)] = 4,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Sampler steps.")] = 20,
    guidance: Annotated[float, typer.Option(min=0)] = 3.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the first image.")] = 1234,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    json: Json = False,
) -> None:
    """How near runs and their base come to a style on held-out prompts: FID, KID, CMMD, Gram distance, text
    similarity."""
    from service.console import print_json, stage_bars
    from training.blocks import EvaluationConfig

    store = open_store()
    from training.style.measure import measure as run_measure

    settings = EvaluationConfig(
        images_per_prompt=images_per_prompt, inference_steps=steps, guidance=guidance, seed=seed
    )
    with stage_bars(quiet=json) as stage:
        report = run_measure(
            store,
            list(dict.fromkeys(runs)),
            folder,
            base=base,
            settings=settings,
            features=features,
            texture=texture,
            device=device,
            progress=stage,
        )
    print_json(report) if json else _print_report(report)


def study(
    file: Annotated[Path, typer.Argument(help="The study as YAML; see docs/style.md.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the style set and the result.", show_default=False)],
    json: Json = False,
) -> None:
    """Train several methods and seeds on one style set and measure them; the same command again goes on."""
    from service.console import print_json, print_table, say, stage_bars
    from training.style.spec import load_style_study

    spec = load_style_study(file)
    store = open_store()
    from training.style.report import table_rows, write_report
    from training.style.study import run_style_study

    with stage_bars(quiet=json) as stage:
        result = run_style_study(store, spec, out, progress=stage)
    write_report(out, result)
    if json:
        print_json(result)
        return
    print_table(f"style study {spec.name}: {result['set']['style']}", *table_rows(result))
    say(f"table.csv, result.json and charts are in {out}.")


def _print_report(report: StyleReport) -> None:
    from service.console import out, print_table, say

    out.print()
    names = list(report.rows[-1].values)
    print_table(
        f"{report.style}: against {report.references} references of {report.prompts} prompts",
        ["", "pictures", *names],
        [[row.name, row.pictures, *(_cell(row, name) for name in names)] for row in report.rows],
    )
    say(f"Features: {report.features}, {report.resize}; texture: {report.texture}. Less is nearer, but for text.")
    say("Intervals are 95 % over prompts; the change from base is paired. FID depends on the number of pictures.")


def _cell(row: Measured, name: str) -> str:
    value = row.values[name]
    told = f"{value.value:.4g} ({value.low:.4g} – {value.high:.4g})"
    if row.change is None or name not in row.change:
        return told
    return f"{told}; {row.change[name].value:+.3g} ({row.change[name].low:+.3g} – {row.change[name].high:+.3g})"
