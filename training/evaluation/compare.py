"""Runs side by side: each against the first, picture by picture, where they were evaluated alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ranking.errors import UsageError
from ranking.store.blobs import Store
from training.evaluation.records import Evaluation, read_table
from training.evaluation.winrates import WinRate, win_rate


@dataclass(frozen=True)
class HeadToHead:
    """One run against another by each judge; in each win rate "run" is `run_id` and "base" is `against`."""

    run_id: str
    against: str
    judges: tuple[WinRate, ...]


def head_to_head(store: Store, evaluations: Sequence[Evaluation]) -> list[HeadToHead]:
    """Every later run against the first, on the pictures that both drew of the same prompts from the same seeds, with
    the first one's tie margins. UsageError where they drew other prompts or seeds, or have other judges."""
    first = evaluations[0]
    table = read_table(store, first)
    shown = (table["prompt"].to_pylist(), table["seed"].to_pylist())
    found = []
    for evaluation in evaluations[1:]:
        other = read_table(store, evaluation)
        if (other["prompt"].to_pylist(), other["seed"].to_pylist()) != shown or [
            judge.judge for judge in evaluation.judges
        ] != [judge.judge for judge in first.judges]:
            raise UsageError(
                f"runs {first.run_id} and {evaluation.run_id} were evaluated on other prompts, seeds or judges",
                hint="name --prompts and --judges, and both are evaluated alike",
            )
        judges = tuple(
            win_rate(
                judge.judge,
                table[f"{judge.judge}.run"].to_numpy(),
                other[f"{judge.judge}.run"].to_numpy(),
                shown[0],
                margin=judge.margin,
                circular=judge.circular or theirs.circular,
                scorer_id=judge.scorer_id,
            )
            for judge, theirs in zip(first.judges, evaluation.judges, strict=True)
        )
        found.append(HeadToHead(evaluation.run_id, first.run_id, judges))
    return found


def best_by_median(evaluations: Sequence[Evaluation], judge: str) -> Evaluation:
    """The one whose prompts have the highest median score by a judge, as Diffusion-DPO chose among checkpoints by the
    median PickScore of validation prompts (Wallace et al. 2023, section 5.1); the first among equals. UsageError where
    one lacks the judge or its median."""
    medians = []
    for evaluation in evaluations:
        found = next((each.median_run for each in evaluation.judges if each.judge == judge), None)
        if found is None:
            raise UsageError(f"run {evaluation.run_id} has no median by {judge}", hint="evaluate it again")
        medians.append(found.value)
    return evaluations[max(range(len(medians)), key=lambda place: (medians[place], -place))]
