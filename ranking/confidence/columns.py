"""The columns of label confidence beside a wide table, and the report of their fit beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from ranking.errors import NotFoundError, StoreError
from ranking.features.columns import ColumnSet, column_file, columns_key
from ranking.features.fields import Field
from ranking.names import canonical_json, parse_json

if TYPE_CHECKING:
    from ranking.confidence.report import Report
    from ranking.features.pairs import PairTable

_BATCH = 122_880
VERSION = 1


def build(table: PairTable) -> Iterator[pa.RecordBatch]:
    """Fit on the dataset, keep the report, give the columns."""
    import numpy as np

    from ranking.confidence.judge import judge
    from ranking.confidence.reading import read_evidence
    from ranking.confidence.report import report_of

    evidence = read_evidence(table)
    judged = judge(evidence)
    report = canonical_json(report_of(evidence, judged).as_json())
    key = _report_key(table)
    if not table.store.put_if_absent(key, report) and table.store.get(key) != report:
        table.store.delete(key)
        table.store.put_if_absent(key, report)
    for start in range(0, len(evidence), _BATCH):
        rows = slice(start, start + _BATCH)
        yield pa.record_batch(
            [
                pa.array(judged.confidence[rows], mask=np.isnan(judged.confidence[rows])),
                pa.array(judged.preference[rows]),
                pa.array(judged.alone[rows]),
                pa.array(np.round(1 - judged.lapse[rows], 6)),
                pa.array(judged.support[rows], pa.int32()),
            ],
            schema=COLUMNS.schema,
        )


def report_for(table: PairTable) -> Report:
    """The report of the fit behind the columns, which is made if nobody did so before."""
    from ranking.confidence.report import Report

    key = _report_key(table)
    column_file(table, COLUMNS)
    for _ in range(2):
        try:
            return Report.parse(parse_json(table.store.get(key), where=key))
        except (NotFoundError, StoreError, KeyError, TypeError):
            for _ in build(table):  # lost or damaged: the fit is made again, its columns are the same
                pass
    raise StoreError(f"{key} was damaged while it was built", code="damaged", hint="try again")


def _report_key(table: PairTable) -> str:
    """Beside the description of the columns, with a version that is theirs."""
    described = columns_key(table, COLUMNS)
    return described.replace(f"/{COLUMNS.name}.v", f"/{COLUMNS.name}.report.v")


COLUMNS = ColumnSet(
    name="confidence",
    version=VERSION,
    schema=pa.schema(
        [
            pa.field("label_confidence", pa.float64()),
            pa.field("preference_0", pa.float64()),
            pa.field("scorer_preference_0", pa.float64()),
            pa.field("rater_reliability", pa.float64()),
            pa.field("label_support", pa.int32()),
        ]
    ),
    fields=(
        Field(
            "label_confidence",
            "number",
            "probability that the rater's winner is the better image, given all that is known; null for ties",
            "labels",
        ),
        Field(
            "preference_0",
            "number",
            "probability that image 0 is the better one, given all but this pair's own label",
            "labels",
        ),
        Field(
            "scorer_preference_0",
            "number",
            "the same from scorers and models alone, without other labels",
            "labels",
        ),
        Field(
            "rater_reliability",
            "number",
            "1 − the estimated share of the rater's answers that are the opposite of what was seen, from others of the "
            "rater's pairs",
            "labels",
        ),
        Field("label_support", "number", "other labels that speak of either image under the prompt", "labels"),
    ),
    build=build,
)
