"""Where an export comes from, as plain values: subset, recipe, snapshot, dataset, scorers, labels, licences. Holds
nothing that differs between machines, and says that a licence is unknown where it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from ranking.datasets import Dataset
from ranking.errors import PairsieveError
from ranking.ingest.sources import scheme_of
from ranking.subsets.catalog import Subset
from ranking.subsets.export.rows import Rows
from ranking.subsets.recipe import Recipe, parse_recipe

UNKNOWN: Final = "unknown"

LABELS: Final = {
    "human": "the winner is the one that a person chose",
    "relabel": "the winner is the one that the scorer prefers; pairs that it cannot tell apart are left out",
    "vote": "the winner is the one that most of the scorers prefer",
    "soft": "the winner is the more probable one; `preference` is its probability",
    "random": "the winner was drawn by lot: a control",
}
"""What the kinds of `label_source` mean."""


@dataclass(frozen=True)
class ScorerFacts:
    """What the installed spec of a scorer states: the licence of its code, that of its weights, and each file of those
    as (source, sha256 or "" where none is pinned)."""

    licence: str = UNKNOWN
    weights_licence: str = UNKNOWN
    weights: tuple[tuple[str, str], ...] = ()


def provenance(
    subset: Subset, rows: Rows, *, licence: str | None, scorers: Mapping[str, ScorerFacts]
) -> dict[str, Any]:
    """The facts of an export but for what was written. `licence` is that of the source dataset, `scorers` what is
    known of scorers by name; a scorer that is not among them has unknown licences."""
    named = scorers_of(subset)
    return {
        "subset": subset.ref,
        "sha256": subset.sha256,
        "pairs": subset.rows,
        "recipe": subset.recipe,
        "snapshot": {"number": subset.snapshot.n, "sha": subset.snapshot.sha},
        "dataset": _dataset(rows.dataset, licence or UNKNOWN),
        "labels": label_facts(subset),
        "scorers": [
            _scorer(scorer_id, scorers.get(name, ScorerFacts()), named is None or name in named)
            for name, scorer_id in sorted(rows.snapshot.scorers.items())
        ],
        "statistics": subset.statistics,
        "software": f"pairsieve {_version()}",
    }


def label_facts(subset: Subset) -> dict[str, Any]:
    """The recipe's label policy and what it means."""
    policy = subset.recipe.get("labels", "human")
    kind = policy if isinstance(policy, str) else next((name for name in LABELS if name in policy), UNKNOWN)
    return {"policy": policy, "meaning": LABELS.get(kind, "see the recipe")}


def scorers_of(subset: Subset) -> set[str] | None:
    """The names of the scorers that the recipe reads, by itself, its metric or its fields; None where that cannot be
    told, as for a metric that is not installed."""
    try:
        recipe: Recipe = parse_recipe(subset.recipe)
    except PairsieveError:
        return None
    uses = recipe.metric.uses
    fields = {name.rpartition(".")[0] for name in recipe.fields if "." in name}
    return {*recipe.scorers, *uses.scorers, *fields}


def _dataset(dataset: Dataset, licence: str) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "format": dataset.format,
        "licence": licence,
        "revision": dataset.revision,
        "sha": dataset.revision_sha,
        "pairs": dataset.n_pairs,
        "sources": [
            {"bytes": source.bytes, "rows": source.rows, "sha256": source.sha256}
            # A path means something on one machine only, and says more of that than it should.
            | ({"uri": source.uri} if scheme_of(source.uri) else {})
            for source in dataset.sources
        ],
    }


def _scorer(scorer_id: str, facts: ScorerFacts, named: bool) -> dict[str, Any]:
    return {
        "id": scorer_id,
        "named_in_recipe": named,
        "licence": facts.licence or UNKNOWN,
        "weights_licence": facts.weights_licence or UNKNOWN,
        "weights": [{"source": source, "sha256": sha256 or UNKNOWN} for source, sha256 in facts.weights],
    }


def _version() -> str:
    try:
        return version("pairsieve")
    except PackageNotFoundError:
        return UNKNOWN
