"""The Celery door to training. The message carries the run's id; everything else is in the store."""

from __future__ import annotations

import logging

from celery import shared_task

from ranking.errors import PairsieveError
from ranking.runs import bury_run
from ranking.settings import load_settings
from ranking.store.blobs import Store
from workers.identity import worker_name

log = logging.getLogger(__name__)


@shared_task(name="training.train")
def train_run(run_id: str) -> None:
    """Train the planned run and evaluate it where its config says so. A repeated message does nothing twice."""
    from training.evaluate import evaluate
    from training.trainer import train

    store = Store.open(load_settings().store)
    try:
        result = train(store, run_id, worker=worker_name())
        log.info("run %s is done: %d steps on %d pairs", run_id, result.steps, result.pairs)
        from ranking.runs import get_run
        from training.config import parse_config

        if parse_config(get_run(store, run_id).config).evaluation is not None:
            evaluate(store, run_id)
    except PairsieveError as error:
        # A wrong config or a diverged loss stays wrong: give the run up and say why, instead of trying again.
        log.error("run %s failed: %s", run_id, error)
        bury_run(store, run_id, reason=str(error))
