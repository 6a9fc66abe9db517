"""One module for each dataset's layout, and the list of them."""

from ranking.ingest.adapters import pickapic
from ranking.ingest.adapters.base import Adapter, Options

__all__ = ["ADAPTERS", "Adapter", "Options"]

ADAPTERS: tuple[Adapter, ...] = (pickapic.ADAPTER,)
"""Every layout, the most particular first: `--format auto` takes the first that a file fits."""
