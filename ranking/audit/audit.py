"""The audit: all ten checks over one reading of the store's records. Repairs nothing."""

import time

from ranking.audit.files import check_citations, check_files, named_files
from ranking.audit.flags import check_flags
from ranking.audit.history import check_history
from ranking.audit.holdings import read_holdings
from ranking.audit.leftovers import check_leftovers
from ranking.audit.recompute import check_subsets, check_wide
from ranking.audit.report import AuditReport, Ledger, Progress
from ranking.audit.rows import check_rows
from ranking.audit.work import check_work
from ranking.settings import load_settings
from ranking.store.blobs import Store


def audit(
    store: Store, *, deep: bool = True, every: bool = False, now: float | None = None, progress: Progress | None = None
) -> AuditReport:
    """Check the ten invariants of `report.INVARIANTS` while others may go on writing.

    Without `deep` no file is read: sizes instead of hashes, nothing about rows and scores, no recomputation.
    With `every` all snapshots and subsets are recomputed, not only the newest. `now` is Unix time. Memory is
    bounded by the records (markers, listings) and one items file's row group, not by the scores. Nothing is
    raised for what is wrong; StoreError only where the store cannot be read at all.
    """
    ledger = Ledger(progress or _silent)
    held = read_holdings(store, ledger)
    newest = check_history(store, held, ledger)
    check_files(store, held, ledger, newest, deep=deep)
    check_flags(store, held, ledger, deep=deep)
    check_citations(store, held, ledger)
    check_work(store, held, ledger, settings=load_settings(), now=now if now is not None else time.time())
    if deep:
        check_rows(store, held, ledger)
        check_wide(store, held, ledger, newest, every=every)
        check_subsets(store, held, ledger, every=every)
    named = {file.key for file in named_files(held)}
    check_leftovers(store, held, ledger, now=now if now is not None else time.time(), named=named)
    return ledger.report(deep=deep)


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""
