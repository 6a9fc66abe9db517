"""The Celery door to training. The message carries the run's id; everything else is in the store."""

from __future__ import annotations

import logging

from celery import shared_task

from ranking.errors import PairsieveError
from ranking.runs import bury_run, get_run, run_state
from ranking.settings import load_settings
from ranking.store.blobs import Store
from training.loop.stops import StoppedError, every_so_often
from workers.attempts import is_environment, release_run, run_in_hand
from workers.identity import worker_name
from workers.stopping import is_stopping

log = logging.getLogger(__name__)


@shared_task(name="training.train")  # type: ignore[untyped-decorator]
def train_run(run_id: str) -> None:
    """Train the planned run, evaluate it where its config says so, and mark it as done.

    A message that comes twice, or for a run that somebody has in hand, does nothing. What fails for reasons of this
    machine is left for another try; what would fail again anywhere gives the run up and says why.
    """
    settings = load_settings()
    store = Store.open(settings.store)
    try:
        plan = get_run(store, run_id)
    except PairsieveError as error:
        log.warning("Ignored: %s", error)
        return
    if run_state(store, run_id) in ("done", "dead"):
        return
    busy = run_in_hand(store, run_id, lease_seconds=settings.lease_seconds)
    if busy is not None:
        log.info("Run %s is in hand: %s", run_id, busy)
        return
    try:
        _train(store, run_id, plan.config)
    except StoppedError as error:
        release_run(store, run_id, aside=True)
        log.info("%s", error)
    except PairsieveError as error:
        if is_environment(error):
            release_run(store, run_id)
            log.warning("Run %s waits for another try: %s", run_id, error)
            return
        log.error("Run %s is given up: %s", run_id, error)
        bury_run(store, run_id, reason=str(error))
    except (KeyboardInterrupt, SystemExit):
        release_run(store, run_id, aside=True)
        raise


def _train(store: Store, run_id: str, values: dict[str, object]) -> None:
    from training.config import parse_config
    from training.evaluation.run import evaluate
    from training.intent import look
    from training.processes import gathered
    from training.trainer import train

    config = parse_config(values, where=f"run {run_id}")
    stop = every_so_often(is_stopping)

    def going_on(stage: str, *_: object) -> None:
        # Of steps the training asks itself, and puts them aside.
        if stage != "train" and stop():
            raise StoppedError(f"run {run_id} is stopped outside its steps", hint="another worker goes on")

    def compare(output: str) -> None:
        if config.evaluation is not None:
            evaluate(
                store,
                run_id,
                output=output,
                device=config.device,
                progress=going_on,
            )

    look(store, get_run(store, run_id).subset, config)
    with gathered(config.processes, run_id):
        result = train(
            store, run_id, worker=worker_name(), progress=going_on, before_done=compare, say=log.info, stop=stop
        )
    log.info("Run %s is done: %d steps on %d pairs", run_id, result.steps, result.pairs)
