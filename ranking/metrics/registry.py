"""Which metrics there are, by name."""

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module

from ranking.errors import UnknownNameError
from ranking.metrics.base import Metric

_BUILT_IN = ("ranking.metrics.catalog.basic",)


@lru_cache(maxsize=1)
def metrics() -> Mapping[str, Metric]:
    """The metrics by name, in the order in which they are documented."""
    return {metric.name: metric for module in _BUILT_IN for metric in import_module(module).METRICS}


def known_metric(name: str) -> Metric:
    """The metric of this name; UnknownNameError that lists them."""
    known = metrics()
    if name not in known:
        raise UnknownNameError.among("metric", name, known)
    return known[name]
