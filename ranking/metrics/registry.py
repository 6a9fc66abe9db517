"""Which metrics there are, by name."""

from collections.abc import Mapping

from ranking.errors import UnknownNameError
from ranking.metrics.base import Metric
from ranking.metrics.installed import installed


def metrics() -> Mapping[str, Metric]:
    """The metrics by name, in the order in which they are documented: Pairsieve's, then those of other packages."""
    return installed().metrics


def known_metric(name: str) -> Metric:
    """The metric of this name. UnknownNameError that lists the near ones and says which packages cannot be used,
    PairsieveError for a metric whose package is at fault."""
    found = installed()
    if name in found.metrics:
        return found.metrics[name]
    for problem in found.problems:
        if problem.name == name:
            raise problem.error()
    error = UnknownNameError.among("metric", name, found.metrics)
    unread = [problem.text for problem in found.problems if problem.name is None and problem.code == "metric-package"]
    if unread:
        raise UnknownNameError(error.message, hint=f"{error.hint}; not used: {'; '.join(unread)}")
    raise error
