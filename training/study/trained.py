"""What the model trained on a cell's subset is worth, prompt by prompt: by the usual run and its
evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ranking.errors import PairsieveError
from ranking.runs import plan_run, run_death, run_state
from ranking.store.blobs import Store
from training.progress import Progress
from training.study.spec import StudySpec
from training.study.tallies import Tally


def model_tallies(
    store: Store, spec: StudySpec, subset: str, *, seed: int, judges: Sequence[str], progress: Progress
) -> tuple[str, dict[str, Tally]]:
    """The run that trains on a subset with a seed, and by judge the credit of each prompt against the base model, a tie
    counting one half. A run or evaluation that is there is not made again."""
    from training.evaluation.prompts import read_prompts
    from training.evaluation.run import evaluate
    from training.trainer import train

    config = spec.train_config(seed, tuple(judges))
    run = plan_run(store, subset, config.model_dump(mode="json"))
    if run_state(store, run.run_id) == "dead":
        raise PairsieveError(
            f"run {run.run_id} on {subset} was given up ({run_death(store, run.run_id)})",
            code="run-dead",
            hint="a study cannot go on without it",
        )

    def compare(output: str) -> None:
        evaluate(store, run.run_id, output=output, device=config.device, progress=progress)

    train(store, run.run_id, progress=progress, before_done=compare)
    found = evaluate(store, run.run_id, device=config.device, progress=progress)
    prompts = tuple(read_prompts(found.settings["prompts"]))
    whole = np.ones(len(prompts))
    return run.run_id, {each.judge: Tally(prompts, np.array(each.credits), whole) for each in found.judges}
