"""From files of preference pairs to a revision of a dataset."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranking.ingest.register import IngestReport, ingest

__all__ = ["IngestReport", "ingest"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: the child that reads files imports its modules from here and must start quickly.
    if name in __all__:
        from ranking.ingest import register

        return getattr(register, name)
    raise AttributeError(name)
