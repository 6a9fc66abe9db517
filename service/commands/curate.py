"""`pairsieve rank` and `pairsieve subset`: from scores to an immutable selection of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.export import export
from service.commands.options import Json, open_store

if TYPE_CHECKING:
    from ranking.catalog import Catalog, Ranking
    from ranking.subsets.catalog import Subset
    from ranking.subsets.explain import Explanation
    from ranking.subsets.verdicts import Verdict

RecipeFile = Annotated[
    Path | None,
    typer.Option("--recipe", help="A recipe as YAML or JSON; options below override it.", show_default=False),
]
Dataset = Annotated[str | None, typer.Option(help="Dataset to rank.", show_default=False)]
Metric = Annotated[
    str | None, typer.Option(help="A quality metric, such as qsd, margin or random; default qsd.", show_default=False)
]
Scorer = Annotated[str | None, typer.Option(help="Scorer that the metric reads.", show_default=False)]
Normalize = Annotated[
    str | None, typer.Option(help="raw, minmax, prompt-z or sigmoid; the metric's own default.", show_default=False)
]
Top = Annotated[
    str | None, typer.Option(help="How much: 5.33% of the eligible pairs, or a count such as 500.", show_default=False)
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="Who says which image won: human, relabel:SCORER (AI feedback), vote:A,B,C, soft:FIELD or random.",
        show_default=False,
    ),
]
Weights = Annotated[str | None, typer.Option(help="Field that training weights pairs by, or none.", show_default=False)]
PerPrompt = Annotated[int | None, typer.Option(min=1, help="At most so many pairs of one prompt.", show_default=False)]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of the metric random.", show_default=False)]
SnapshotNumber = Annotated[
    int | None, typer.Option("--snapshot", help="Number; the latest if not given.", show_default=False)
]


def register(app: typer.Typer) -> None:
    app.command("rank")(rank)
    group = typer.Typer(no_args_is_help=True, help="Immutable, content-addressed selections of pairs.")
    group.command("create")(create)
    group.command("list")(list_all)
    group.command("show")(show)
    group.command("diff")(diff)
    group.command("export")(export)
    app.add_typer(group, name="subset")


def rank(
    dataset: Annotated[str, typer.Argument(help="Dataset to rank.", show_default=False)],
    recipe: RecipeFile = None,
    metric: Metric = None,
    scorer: Scorer = None,
    normalize: Normalize = None,
    top: Top = None,
    labels: Labels = None,
    weights: Weights = None,
    per_prompt: PerPrompt = None,
    seed: Seed = None,
    snapshot: SnapshotNumber = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Rows to print.")] = 20,
    explain: Annotated[str | None, typer.Option(help="A pair id: why is it in or out?", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Preview a ranking: the best pairs, what would be taken, and why."""
    from json import loads

    from service.console import out, print_json, print_table, stage_bars

    ranking = build_ranking(
        "preview", recipe, snapshot, dataset=dataset, metric=metric, scorer=scorer, normalize=normalize,
        top=top, labels=labels, weights=weights, per_prompt=per_prompt, seed=seed,
    )  # fmt: skip
    if explain is not None:
        with stage_bars(quiet=json) as stage:
            found = ranking.explain(explain, progress=stage)
        print_json(found) if json else _print_explanation(found)
        return
    with stage_bars(quiet=json) as stage:
        preview = ranking.preview(limit, progress=stage)
    rows, stages = preview.to_pylist(), loads(preview.schema.metadata[b"stages"])
    if json:
        told = {"snapshot": ranking.table.snapshot.n, "recipe": ranking.recipe.canonical(), "stages": stages}
        print_json(told | {"pairs": rows})
        return
    print_table(
        f"{dataset} by {ranking.recipe.metric.name}, snapshot {ranking.table.snapshot.n}",
        ["rank", "metric", "taken", "pair", "winner", "prompt"],
        [
            [row["rank"], row["metric"], row["taken"], row["pair_id"], row["winner_uid"][:12], row["prompt"]]
            for row in rows
        ],
    )
    out.print(said_stages(stages), highlight=False, style="dim")


def create(
    name: Annotated[str, typer.Argument(help="Name of the subset.", show_default=False)],
    recipe: RecipeFile = None,
    dataset: Dataset = None,
    metric: Metric = None,
    scorer: Scorer = None,
    normalize: Normalize = None,
    top: Top = None,
    labels: Labels = None,
    weights: Weights = None,
    per_prompt: PerPrompt = None,
    seed: Seed = None,
    snapshot: SnapshotNumber = None,
    json: Json = False,
) -> None:
    """Select pairs and keep them as NAME@VERSION; the version follows from recipe, snapshot and pairs."""
    ranking = build_ranking(
        name, recipe, snapshot, dataset=dataset, metric=metric, scorer=scorer, normalize=normalize,
        top=top, labels=labels, weights=weights, per_prompt=per_prompt, seed=seed,
    )  # fmt: skip
    from service.console import stage_bars

    with stage_bars(quiet=json) as stage:
        kept = ranking.subset(progress=stage)
    _print_subset(kept.record, json=json)


def list_all(json: Json = False) -> None:
    """List every version of every subset."""
    from service.console import print_json, print_table

    subsets = [subset.record for subset in _catalog().subsets()]
    if json:
        print_json(subsets)
        return
    print_table(
        "subsets",
        ["subset", "pairs", "dataset", "metric", "snapshot", "created"],
        [[s.ref, s.rows, s.dataset, s.recipe["metric"]["name"], s.snapshot.n, s.created[:19]] for s in subsets],
    )


def show(
    ref: Annotated[str, typer.Argument(help="NAME@VERSION, or NAME for the latest.", show_default=False)],
    json: Json = False,
) -> None:
    """Show a subset's recipe, its statistics before and after, and what was found of models trained on it."""
    from dataclasses import asdict

    from ranking.subsets.verdicts import read_verdicts
    from service.console import print_json

    subset = _catalog().subset(ref).record
    verdicts = read_verdicts(open_store(), subset)
    if json:
        print_json(asdict(subset) | {"verdicts": verdicts})
        return
    _print_subset(subset, json=False, recipe=True)
    if verdicts:
        _print_verdicts(verdicts)


def diff(
    a: Annotated[str, typer.Argument(help="NAME@VERSION, or NAME for the latest.", show_default=False)],
    b: Annotated[str, typer.Argument(help="Another one.", show_default=False)],
    json: Json = False,
) -> None:
    """Compare two subsets: pairs in common, their order and winners, recipe and statistics."""
    from service.console import out, print_facts, print_json, print_table

    catalog = _catalog()
    found = catalog.subset(a).compare(catalog.subset(b))
    if json:
        print_json(found)
        return
    print_facts(
        {
            "pairs": f"{found.rows[0]:,} of {found.a}, {found.rows[1]:,} of {found.b}",
            "in both": f"{found.common:,}; only in the first {found.only_a:,}, only in the second {found.only_b:,}",
            "Jaccard": found.jaccard,
            "overlap": f"{found.overlap:.4f} of the smaller one",
            "order of common": f"Spearman {_number(found.spearman)}, Kendall {_number(found.kendall)}",
            "winners flipped": found.flipped,
            "common prompts": found.common_prompts,
            "snapshots": " and ".join(sha[:12] for sha in found.snapshots) if found.snapshots else "the same",
        }
    )
    out.print()
    if found.recipe:
        rows = [[change.key, _flow(change.a), _flow(change.b)] for change in found.recipe]
        print_table("recipe", ["", found.a, found.b], rows)
    print_table("statistics", ["", found.a, found.b], [[name, *both] for name, both in found.statistics.items()])


def build_ranking(
    name: str,
    file: Path | None,
    snapshot: int | None,
    *,
    dataset: str | None,
    metric: str | None,
    scorer: str | None,
    normalize: str | None,
    top: str | None,
    labels: str | None,
    weights: str | None,
    per_prompt: int | None,
    seed: int | None,
) -> Ranking:
    """The recipe of the file with the options laid over it. UsageError where both together say too little."""
    from ranking.errors import UsageError
    from ranking.notebook.conditions import amount
    from ranking.subsets.recipe import parse_recipe, read_recipe

    given = {"name": name} | ({} if dataset is None else {"dataset": dataset})
    values: dict[str, Any] = given
    if file is not None:
        told = read_recipe(file)
        told = told | given if isinstance(told, dict) else told
        values = parse_recipe(told, where=f"recipe {file}").canonical()
    if not values.get("dataset"):
        raise UsageError("no dataset given", hint="use --dataset NAME or --recipe FILE")
    spec = dict(values.get("metric") or {"name": "qsd"})
    if metric is not None and metric != spec.get("name"):
        spec = {"name": metric} | {key: value for key, value in spec.items() if key == "scorer"}
    spec |= {key: value for key, value in (("scorer", scorer), ("normalize", normalize)) if value is not None}
    if spec["name"] == "random":
        spec = {"name": "random"}
    values["metric"] = spec
    if top is not None:
        values["take"] = amount(top, option="--top")
    values.setdefault("take", {"percent": 5.33})
    if labels is not None:
        values["labels"] = parse_labels(labels)
    if weights is not None:
        values["weights"] = weights
    if per_prompt is not None:
        values["per_prompt"] = {"max": per_prompt}
    if seed is not None:
        values["seed"] = seed
    recipe = parse_recipe(values, where=f"recipe {file}" if file else "the recipe")
    return _catalog().rank(recipe, snapshot=snapshot)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def parse_labels(text: str) -> Any:
    """{"vote": ["a", "b"]} of "vote:a,b", and so on; a word alone is itself."""
    policy, colon, of = text.partition(":")
    return {policy: of.split(",") if policy == "vote" else of} if colon else text


def said_stages(stages: dict[str, Any]) -> str:
    """What became of the pairs, in one line: 1,000,000 pairs → 887,412 pass where → … → 47,300 taken."""
    from ranking.subsets.recipe import STAGES

    words = {"labels": "have a winner", "weights": "a weight", "metric": "a metric", "flags": "are not flagged"}
    parts, before = [f"{stages['pairs']:,} pairs"], stages["pairs"]
    # What was kept as JSON has its keys in the order of the alphabet.
    order = {name: place for place, name in enumerate(STAGES)}
    for name, left in sorted(stages["left"].items(), key=lambda stage: order.get(stage[0], len(order))):
        if left != before or name == "where":
            parts.append(f"{left:,} {words.get(name, f'pass {name}')}")
        before = left
    capped = [f"{count:,} over {place}" for place, count in stages["capped"].items() if count]
    over = f" ({', '.join(capped)})" if capped else ""
    return " → ".join([*parts, f"{stages['taken']:,} taken{over}"])


def _print_explanation(found: Explanation) -> None:
    from service.console import out, print_facts

    told = {
        "pair": found.pair_id,
        "taken": found.taken,
        "decided by": found.stage,
        "why": found.reason,
        "to change it": found.change or "nothing in the recipe alone",
    }
    if found.taken and not found.change:
        del told["to change it"]
    print_facts(told)
    out.print()
    print_facts(found.inputs)


def _catalog() -> Catalog:
    from ranking.catalog import Catalog

    return Catalog(open_store())


def _named(metric: dict[str, Any]) -> dict[str, Any]:
    """The same with its name first."""
    return {"name": metric["name"]} | metric


def _flow(value: Any) -> str | None:
    """A value of a recipe as one would write it there."""
    from json import dumps

    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(each)}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(str(_flow(each)) for each in value)}]"
    return dumps(value)


def _print_subset(subset: Subset, *, json: bool, recipe: bool = False) -> None:
    from service.console import out, print_facts, print_json, print_table

    if json:
        print_json(subset)
        return
    before, after = subset.statistics["before"], subset.statistics["after"]
    print_facts(
        {
            "subset": subset.ref,
            "pairs": f"{subset.rows:,} of {subset.statistics['eligible']:,} eligible in {subset.dataset}",
            "metric": " ".join(str(_flow(value)) for value in _named(subset.recipe["metric"]).values()),
            "snapshot": f"{subset.snapshot.n} ({subset.snapshot.sha[:12]})",
            "sha256": subset.sha256,
        }
    )
    if "stages" in subset.statistics:
        out.print(said_stages(subset.statistics["stages"]), highlight=False, style="dim")
    out.print()
    if recipe:
        _print_recipe(subset.recipe)
    rows = [
        [name.replace("_", " "), before[name], after[name]] for name in before if isinstance(before[name], int | float)
    ]
    rows += [
        [f"{name}: {scorer}", values, after[name].get(scorer)]
        for name, group in before.items()
        if isinstance(group, dict)
        for scorer, values in group.items()
        if isinstance(values, int | float)
    ]
    print_table("statistics", ["", "dataset", "subset"], rows)


def _print_verdicts(verdicts: list[Verdict]) -> None:
    """Win rates of runs against their bases, a line per run and judge."""
    from service.console import out, print_table

    out.print()
    rows = [
        [
            *(verdict.run_id, verdict.method, verdict.steps),
            f"{each.judge}{' (circular)' if each.circular else ''}",
            f"{each.rate:.1%} ({each.low:.1%} – {each.high:.1%})",
            "" if verdict.diversity is None else f"{verdict.diversity:+.1%}",
        ]
        for verdict in verdicts
        for each in verdict.judges
    ]
    print_table(
        "models trained on it, against their base", ["run", "method", "steps", "judge", "win rate", "variety"], rows
    )


def _print_recipe(recipe: dict[str, Any]) -> None:
    """The recipe with every default, as a file would have it."""
    from ranking.subsets.recipe import Recipe
    from service.console import out

    out.print("recipe", style="bold")
    for key in (key for key in Recipe.model_fields if key in recipe):
        value = _named(recipe[key]) if key == "metric" else recipe[key]
        out.print(f"{key}: {_flow(value)}", highlight=False, markup=False, soft_wrap=True)
    out.print()
