"""Whether a store holds what it says it holds: ten invariants, checked while others go on writing."""

from ranking.audit.audit import audit
from ranking.audit.report import INVARIANTS, AuditReport, Finding

__all__ = ["INVARIANTS", "AuditReport", "Finding", "audit"]
