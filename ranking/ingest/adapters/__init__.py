"""One module for each dataset's layout, and the list of them."""

from ranking.ingest.adapters import hpdv2, hpdv3, imagerewarddb, openprefs, pickapic, rapidata, richhf, table
from ranking.ingest.adapters.base import Adapter, Options

__all__ = ["ADAPTERS", "Adapter", "Options"]

ADAPTERS: tuple[Adapter, ...] = (
    hpdv2.ADAPTER,
    hpdv3.ADAPTER,
    imagerewarddb.ADAPTER,
    openprefs.ADAPTER,
    rapidata.ADAPTER,
    richhf.ADAPTER,
    pickapic.ADAPTER,
    table.ADAPTER,
)
"""Every layout, the most particular first: `--format auto` takes the first that a file fits."""
