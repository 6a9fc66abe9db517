"""What nothing names any more: found, put aside, and after a while deleted."""

from ranking.collection.candidates import Ages, Candidate, Collection, plan_collection
from ranking.collection.collect import Collected, collect, restore
from ranking.collection.named import Named, read_named, store_time

__all__ = [
    "Ages",
    "Candidate",
    "Collected",
    "Collection",
    "Named",
    "collect",
    "plan_collection",
    "read_named",
    "restore",
    "store_time",
]
