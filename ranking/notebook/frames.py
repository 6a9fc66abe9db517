"""Arrow tables as data frames of libraries that not everybody has, and what every result can become."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any

import pyarrow as pa

from ranking.errors import UsageError


class Tabular(ABC):
    """What gives an Arrow table when asked, gives data frames too."""

    @abstractmethod
    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table."""

    def to_pandas(self) -> Any:
        """The rows as a pandas.DataFrame; UsageError where pandas is not installed."""
        _library("pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """The rows as a polars.DataFrame, copying little; UsageError where polars is not installed."""
        return _library("polars").from_arrow(self.to_arrow())


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"{name} is not installed", code="not-installed", hint=f"pip install {name}, or use to_arrow()"
        ) from error
