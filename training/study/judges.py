"""The judges a study may name, and what each says of an arm. Those of subsets are here; what a scorer or the oracle
says of a trained model is `training.evaluation`'s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ranking.errors import UnknownNameError, UsageError
from ranking.features.pairs import PairTable
from training.blocks import TOYWORLD
from training.study.arms import Arm, circular
from training.study.spec import JUDGES, StudySpec
from training.study.tallies import (
    Bench,
    Tally,
    agreement,
    confidence,
    coverage,
    oracle_gap,
    oracle_labels,
    prompt_counts,
)

AGREES = "agrees:"
ORACLE = "oracle"
ORACLES = ("oracle-labels", "oracle-gap")
"""Judges that only Toyworld has."""

Reduce = Literal["proportion", "mean", "perplexity"]
Form = Literal["share", "number", "count"]


@dataclass(frozen=True)
class Judge:
    """One column of the table. `of` says whether it judges a subset or the model trained on it; `form` whether its
    value is a share, a count or another number; `reduce` how the sums of its tallies become one
    (`training.study.statistics`). `scorers` and `fields` are what it judges by, `id` is that of a scorer."""

    name: str
    meaning: str
    of: Literal["subset", "model"]
    form: Form = "share"
    reduce: Reduce = "mean"
    scorers: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    id: str = ""

    def plain(self) -> dict[str, Any]:
        """As a study records it."""
        return vars(self) | {"scorers": list(self.scorers), "fields": list(self.fields)}


SUBSET_JUDGES = (
    Judge(
        "oracle-labels",
        "share of labels that are right by Toyworld's oracle, of the pairs that it decides",
        "subset",
        reduce="proportion",
    ),
    Judge("oracle-gap", "mean true utility of the winner less the loser's, by Toyworld's oracle", "subset", "number"),
    Judge("coverage", "share of the dataset's prompts that have a pair in the subset", "subset"),
    Judge(
        "effective-prompts",
        "e to the entropy of the prompts: as many prompts with equally many pairs would be as diverse",
        "subset",
        "count",
        "perplexity",
    ),
    Judge(
        "confidence",
        "mean label_confidence of the labels; fitted on the scorers too, so a hint and no verdict",
        "subset",
        fields=("label_confidence",),
    ),
)
"""The judges of subsets with a fixed name."""


def resolve_judges(spec: StudySpec, table: PairTable, arms: list[Arm]) -> list[Judge]:
    """The judges of a study, or the default ones that fit the dataset.

    UnknownNameError for one that there is not; UsageError for one that cannot judge here, or by whose scores every arm
    selects.
    """
    names = spec.judges
    if names is None:
        toy = is_toyworld(table)
        names = tuple(name for name in JUDGES if toy or name not in ORACLES)
        if spec.train is not None:
            names += (ORACLE,) if spec.train_config(0, (ORACLE,)).evaluation.prompts == TOYWORLD else ()
    judges = [_judge(name, spec, table) for name in names]
    if spec.train is not None and not any(judge.of == "model" for judge in judges):
        raise UsageError(
            f"study {spec.name} trains models that no judge looks at", hint="name a scorer among its judges"
        )
    asked = [arm.plain() for arm in arms if arm.role == "arm"]
    for judge in judges:
        if all(circular(judge.scorers, judge.fields, arm) for arm in asked):
            raise UsageError(
                f"judge {judge.name} of study {spec.name} judges by what every arm selects by",
                code="circular-judge",
                hint="name a judge that has no part in the selection",
            )
    return judges


def is_toyworld(table: PairTable) -> bool:
    """Whether the oracle knows the first prompt of a dataset."""
    from training.toyworld.world import parse_prompt

    try:
        parse_prompt(_first_prompt(table))
    except ValueError:
        return False
    return True


def _judge(name: str, spec: StudySpec, table: PairTable) -> Judge:
    fixed = {judge.name: judge for judge in SUBSET_JUDGES}
    if name in fixed:
        if name in ORACLES and not is_toyworld(table):
            raise UsageError(
                f"judge {name} knows Toyworld only, and {spec.dataset} is not of it: "
                f"one of its prompts is {_first_prompt(table)!r}",
                hint="agrees:SCORER is a judge of any dataset",
            )
        for field in fixed[name].fields:
            if field not in table.fields:
                raise UnknownNameError.among("field", field, table.fields)
        return fixed[name]
    if name.startswith(AGREES):
        scorer = name.removeprefix(AGREES)
        if scorer not in table.scorers:
            raise UnknownNameError.among(f"scorer in judge {name}:", scorer, table.scorers)
        meaning = f"share of labels that {scorer} agrees with, of the pairs it decides"
        return Judge(name, meaning, "subset", reduce="proportion", scorers=(scorer,))
    return _model_judge(name, spec, table, known=[*fixed, ORACLE, *(f"{AGREES}{each}" for each in table.scorers)])


def _model_judge(name: str, spec: StudySpec, table: PairTable, *, known: list[str]) -> Judge:
    meaning = "share of held-out pictures that it prefers to the base model's"
    if name == ORACLE:
        scorers: tuple[str, ...] = ()
        found = ""
    else:
        from workers.scorers.registry import resolve

        try:
            found = resolve([name], store=table.store)[name]
        except UnknownNameError as error:
            from workers.scorers.registry import specs

            raise UnknownNameError.among("judge", name, [*known, *specs(table.store)]) from error
        scorers = (found.partition("@")[0],)  # whatever precision or fingerprint it was named by
    if spec.train is None:
        raise UsageError(
            f"judge {name} judges trained models, and study {spec.name} trains none",
            hint=f"add `train:`, or name one of {', '.join(known)}",
        )
    return Judge(name, meaning, "model", reduce="proportion", scorers=scorers, id=found)


def _first_prompt(table: PairTable) -> str:
    with table.connect() as con:
        return str(con.execute(f"SELECT min(prompt) FROM {table.relation()}").fetchall()[0][0])


def tally(judge: str, bench: Bench) -> Tally:
    """What a judge of subsets counts on the bench, prompt by prompt."""
    if judge.startswith(AGREES):
        return agreement(bench, judge.removeprefix(AGREES))
    return {
        "oracle-labels": oracle_labels,
        "oracle-gap": oracle_gap,
        "coverage": coverage,
        "effective-prompts": prompt_counts,
        "confidence": confidence,
    }[judge](bench)
