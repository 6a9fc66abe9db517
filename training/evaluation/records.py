"""What an evaluation is, and where it is kept: beside its run, with a table of every score, and a verdict beside the
subset."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ranking.names import canonical_json, nulls_for_nan, parse_json
from ranking.store.blobs import Store
from training.blocks import EvaluationConfig
from training.evaluation.diversity import Diversity
from training.evaluation.winrates import Margin, WinRate
from training.intervals import Estimate

if TYPE_CHECKING:
    from training.evaluation.implicit import Implicit
    from training.evaluation.samples import Samples

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Evaluation:
    """One comparison of a run with its base: its settings, how many images, where the samples are, what each judge
    says, how different images of one prompt are, and whether held-out pairs are ordered rightly. `table` is the store
    key of the scores of every image. What was not looked at, or is newer than the record, is None or empty."""

    run_id: str
    settings: dict[str, Any]
    prompts: int
    images: int
    base_samples: str
    run_samples: str
    judges: tuple[WinRate, ...]
    created: str
    diversity: Diversity | None = None
    implicit: Implicit | None = None
    table: str = ""


def evaluation_key(run_id: str, evaluation: str) -> str:
    """The store key of an evaluation's record."""
    return f"runs/{run_id}/evaluation/{evaluation}.json"


def table_key(run_id: str, evaluation: str) -> str:
    """The store key of an evaluation's table."""
    return f"runs/{run_id}/scores/{evaluation}.parquet"


def keep_table(
    store: Store, key: str, base: Samples, before: Mapping[str, Floats], after: Mapping[str, Floats]
) -> None:
    """One row per image: prompt, seed, and for each judge `<judge>.base` and `<judge>.run` (float32)."""
    columns: dict[str, Any] = {"prompt": base.prompts, "seed": base.seeds}
    for judge in before:
        columns |= {f"{judge}.base": before[judge], f"{judge}.run": after[judge]}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    store.put_if_absent(key, buffer.getvalue())


def read_table(store: Store, evaluation: Evaluation) -> pa.Table:
    """The scores of every image, as `keep_table` describes them."""
    return pq.read_table(store.local(evaluation.table), partitioning=None)


def keep_evaluation(store: Store, key: str, evaluation: Evaluation) -> Evaluation:
    """The record under this key: this one, unless there was one."""
    store.put_if_absent(key, canonical_json(nulls_for_nan(asdict(evaluation))))
    return read_evaluation(store, key)


def list_evaluations(store: Store, run_id: str) -> list[Evaluation]:
    """Every evaluation of a run, oldest first."""
    keys = store.list(f"runs/{run_id}/evaluation")
    return sorted((read_evaluation(store, key) for key in keys), key=lambda evaluation: evaluation.created)


def kept_evaluation(store: Store, run_id: str, settings: EvaluationConfig) -> Evaluation | None:
    """The newest evaluation of a run with these settings, None where there is none. What it looked at then, such as a
    file of prompts, may have changed since: `evaluate` would see. Loads no model, and no torch."""
    wanted = settings.model_dump(mode="json")
    return next((each for each in reversed(list_evaluations(store, run_id)) if each.settings == wanted), None)


def read_evaluation(store: Store, key: str) -> Evaluation:
    """The record under a key."""
    values = parse_json(store.get(key), where=key)
    judges = tuple(_win_rate(judge) for judge in values["judges"])
    diversity, implicit = values.get("diversity"), values.get("implicit")
    return Evaluation(
        **values
        | {
            "judges": judges,
            "diversity": Diversity(**_estimates(diversity, "base", "run", "change")) if diversity else None,
            "implicit": _implicit(implicit) if implicit else None,
        }
    )


def _win_rate(record: dict[str, Any]) -> WinRate:
    made = _estimates(record, "gain", "median_base", "median_run", "median_gain")
    credits = tuple(record.get("credits", ()))
    return WinRate(**made | {"credits": credits, "margin": Margin(**record.get("margin", {}))})


def _implicit(record: dict[str, Any]) -> Implicit:
    from training.evaluation.implicit import Bucket, Implicit  # they stand beside what loads torch

    buckets = tuple(Bucket(**_estimates(bucket, "accuracy")) for bucket in record["buckets"])
    return Implicit(**_estimates(record, "accuracy", "margin") | {"buckets": buckets})


def _estimates(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return record | {name: _estimate(record[name]) for name in names if record.get(name) is not None}


def _estimate(record: dict[str, float | None]) -> Estimate:
    return Estimate(**{end: float("nan") if value is None else value for end, value in record.items()})
