"""GET /v1/metrics: by what pairs can be ranked, with formula, source and options."""

from __future__ import annotations

from fastapi import APIRouter

from ranking.metrics.base import PROVENANCES, Metric
from ranking.metrics.registry import known_metric, metrics
from service.api.models import MetricList, MetricOut
from service.dependencies import NoQuery

router = APIRouter(prefix="/v1/metrics", tags=["metrics"])


@router.get("")
def list_(_query: NoQuery) -> MetricList:
    """Every quality metric, those that other packages bring included."""
    return MetricList(items=[_out(metric) for metric in metrics().values()])


@router.get("/{name}")
def get(name: str, _query: NoQuery) -> MetricOut:
    """One metric: its formula, where that comes from and how well it is known, and the JSON schema of its options."""
    return _out(known_metric(name))


def _out(metric: Metric) -> MetricOut:
    return MetricOut(
        name=metric.name,
        formula=metric.formula,
        range=metric.range,
        source=metric.source,
        provenance=metric.provenance,
        provenance_meaning=PROVENANCES[metric.provenance],
        nulls=metric.nulls,
        options=metric.options.model_json_schema(),
    )
