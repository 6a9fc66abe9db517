"""A slice from bytes to commits: reader, decoder, scoring, writer."""

from workers.engine.report import SliceReport
from workers.engine.scoring import Committee, ScorerError
from workers.engine.slices import score_slice

__all__ = ["Committee", "ScorerError", "SliceReport", "score_slice"]
