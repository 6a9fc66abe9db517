"""From files of preference pairs to a revision of a dataset."""

from ranking.ingest.register import IngestReport, ingest

__all__ = ["IngestReport", "ingest"]
