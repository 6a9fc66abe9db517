"""A study of one arm whose only cell is filled, as the audit and the collection see one."""

import pyarrow as pa

from ranking.store.blobs import Store
from ranking.store.parquet import put_parquet
from ranking.studies import Cell, Study, finish_cell, plan_study, study_folder, study_id
from ranking.subsets.catalog import Subset


def add_study(store: Store, subset: Subset, *, run: str | None = None) -> tuple[Study, Cell]:
    """Record it in the store; what its judge counted is one number."""
    spec = {"name": "rivals", "dataset": subset.dataset}
    arm = {"name": "best", "role": "arm", "seeds": [0], "recipe": subset.recipe}
    study = plan_study(store, Study("rivals", study_id(spec), spec, subset.snapshot, (arm,), ({"name": "coverage"},)))
    rows = pa.table({"part": [1.0]})
    file = put_parquet(store, f"{study_folder(study.name, study.id)}/tallies", rows.schema, rows.to_batches())
    return study, finish_cell(store, study, Cell("best", 0, subset.ref, subset.rows, run, file))
