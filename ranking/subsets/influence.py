"""Which scorers have a part in what a recipe selects or labels: a judge among them would judge its own choice."""

from __future__ import annotations

from collections.abc import Iterable

from ranking.features.pairs import PairTable
from ranking.subsets.recipe import Recipe

_OF_NO_SCORER = {"pair", "prompt", "flags", "labels", "images", "ratings"}
"""Groups of fields that no scorer has a part in."""
_FITTED_ON_SCORES = {"label_confidence", "preference_0", "scorer_preference_0", "rater_reliability"}
"""Fields of labels that all scorers have a part in, all the same."""
_MADE_OF_SCORES = _FITTED_ON_SCORES | {
    *("votes", "agree_votes", "vote_share", "winner_dominates", "loser_dominates"),
    *("pareto_gap", "pareto_0", "pareto_1"),
}
"""All fields that all scorers have a part in, for where there is no table to ask."""


def used_scorers(recipe: Recipe, table: PairTable) -> frozenset[str]:
    """The scorers whose verdicts a recipe selects or labels by; all of them where a field is made of all."""
    found = {*recipe.metric.uses.scorers, *recipe.scorers}
    for name in recipe.fields:
        field = table.fields[name]
        if field.scorer is not None:
            found.add(field.scorer)
        elif field.group not in _OF_NO_SCORER or name in _FITTED_ON_SCORES:
            own = [scorer for scorer in table.scorers if name.startswith(f"{scorer}.")]
            found |= {max(own, key=len)} if own else set(table.scorers)
    return frozenset(found)


def used_of(recipe: Recipe, scorers: Iterable[str]) -> frozenset[str]:
    """The same without the table, which another store has: those of `scorers` that a recipe may select or label by."""
    named = {*recipe.metric.uses.scorers, *recipe.scorers}
    of_all = not _MADE_OF_SCORES.isdisjoint(recipe.fields)
    return frozenset(
        scorer
        for scorer in scorers
        if of_all or scorer in named or any(field.startswith(f"{scorer}.") for field in recipe.fields)
    )
