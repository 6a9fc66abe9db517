"""From what a study says to the recipes it compares: arms and controls of one size, and whose verdicts each uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ranking import duck
from ranking.errors import PairsieveError, UsageError
from ranking.features.pairs import PairTable
from ranking.subsets.influence import used_scorers
from ranking.subsets.recipe import Recipe, Take, check_recipe, parse_recipe
from training.study.spec import Control, StudySpec


@dataclass(frozen=True)
class Arm:
    """One row of the table. `role` is "arm" or the kind of control; `seeds` are those that its pairs, or a training on
    them, differ by; `scorers` and `fields` are what it selects by."""

    name: str
    role: str
    recipe: Recipe
    seeds: tuple[int, ...]
    scorers: frozenset[str]
    fields: frozenset[str]

    def plain(self) -> dict[str, Any]:
        """As a study records it."""
        return {
            "name": self.name,
            "role": self.role,
            "recipe": self.recipe.canonical(),
            "seeds": list(self.seeds),
            "scorers": sorted(self.scorers),
            "fields": sorted(self.fields),
        }


def expand(spec: StudySpec, table: PairTable) -> list[Arm]:
    """The arms of a study and then its controls, checked against the table of its snapshot.

    UsageError or UnknownNameError that names the arm where one does not fit.
    """
    take = {"count": budgeted(spec, table)}
    plain = {arm["name"]: {"take": take} | spec.defaults | arm for arm in spec.arms}
    arms = [_arm(spec, table, name, "arm", values) for name, values in plain.items()]
    scorer = spec.scorer or next((name for arm in arms for name in arm.recipe.metric.uses.scorers), None)
    for control in spec.controls:
        values = _control(control, plain, {"take": take} | spec.defaults, scorer=scorer)
        arms.append(_arm(spec, table, control.called, control.control, values))
    return arms


def budgeted(spec: StudySpec, table: PairTable) -> int:
    """How many pairs the budget is."""
    if spec.budget.count is not None:
        return spec.budget.count
    with table.connect() as con:
        counted = f"SELECT count(*) AS pairs FROM {table.relation()} WHERE winner IS NOT NULL"
        decided = int(duck.arrow(con, counted)["pairs"][0].as_py())
    return Take(percent=spec.budget.percent).most(decided)


def circular(scorers: Iterable[str], fields: Iterable[str], arm: dict[str, Any]) -> bool:
    """Whether a judge that judges by these scorers and fields judges an arm by what that selects by."""
    return bool(set(scorers) & set(arm["scorers"]) or set(fields) & set(arm["fields"]))


def _control(
    control: Control, arms: dict[str, dict[str, Any]], shared: dict[str, Any], *, scorer: str | None
) -> dict[str, Any]:
    """The recipe of a control, as an arm would be written."""
    scorer = control.scorer or scorer
    if control.control == "bottom":
        values = dict(arms[control.of or next(iter(arms))])
        return values | {"take": values["take"] | {"from": "bottom"}}
    if control.control in ("top-margin", "top-winner-score"):
        if scorer is None:
            raise UsageError(
                f"control {control.called}: it has no scorer, as no arm names one",
                code="bad-study",
                hint="write `scorer:` into the study, or leave the control out",
            )
        return shared | {"metric": {"name": control.control.removeprefix("top-"), "scorer": scorer}}
    if control.control == "all":
        return {"metric": {"name": "random"}, "take": {"percent": 100.0}}
    labels = {"labels": "random"} if control.control == "random-labels" else {}
    return shared | {"metric": {"name": "random"}} | labels


def _arm(spec: StudySpec, table: PairTable, name: str, role: str, values: dict[str, Any]) -> Arm:
    where = f"{'arm' if role == 'arm' else 'control'} {name} of study {spec.name}"
    own = {"name": f"{spec.family or spec.name}.{name}", "dataset": spec.dataset, "seed": spec.seeds[0]}
    try:
        recipe = parse_recipe(values | own, where=where)
        check_recipe(recipe, table)
    except PairsieveError as error:
        if error.message.startswith(where):
            raise
        # It keeps its kind and code, and says where.
        raise type(error)(f"{where}: {error.message}", code=error.code, hint=error.hint) from error
    seeds = spec.seeds if spec.train is not None or moved_by_seed(recipe) else spec.seeds[:1]
    return Arm(name, role, recipe, seeds, used_scorers(recipe, table), frozenset(recipe.fields))


def moved_by_seed(recipe: Recipe) -> bool:
    """Whether another seed may give a recipe other pairs or labels."""
    if recipe.labels == "random" or recipe.diversity is not None:
        return True
    constraints: Sequence[Any] = (recipe.per_prompt, recipe.balance, recipe.near_duplicates)
    takes_all = recipe.take.percent == 100 and not any(constraints)
    return recipe.metric.uses.seed and not takes_all
