"""Flags: every record lies where it says, ends what was said before, and its marks are there; what was taken down is
nowhere shown. For invariants I4, I5 and I10."""

from ranking import duck
from ranking.audit.holdings import Holdings, canonical
from ranking.audit.report import Ledger
from ranking.datasets import get_dataset
from ranking.errors import PairsieveError
from ranking.flags.book import mark_id_sql
from ranking.flags.copies import uids_taken
from ranking.flags.records import Batch, Mark, TakeDown, Withdrawal
from ranking.flags.takedowns import standing_of, taken_of
from ranking.images.thumbnails import pack_key, packed_uids
from ranking.store.blobs import Store


def check_flags(store: Store, held: Holdings, ledger: Ledger, *, deep: bool) -> None:
    """Look at every record of `flags/` and `takedowns/`; with `deep` also into batches and packs of thumbnails."""
    canonical(store, ledger, 5, list(held.flags))
    said = {record.id for record in held.flags.values() if isinstance(record, Mark | Batch | TakeDown)}
    for key, record in held.flags.items():
        ledger.count(5, "flags")
        if isinstance(record, Withdrawal) and record.of not in said:
            if not deep or not _in_a_batch(store, held, record):
                ledger.error(4, key, f"{key} withdraws {record.of}, which nobody said")
        elif not isinstance(record, TakeDown) and record.dataset not in held.revisions:
            ledger.error(4, key, f"{key} is about dataset {record.dataset}, which is not there")
    if deep:
        _check_packs(store, held, ledger)


def _in_a_batch(store: Store, held: Holdings, record: Withdrawal) -> bool:
    for batch in held.flags.values():
        if isinstance(batch, Batch) and batch.dataset == record.dataset and store.exists(batch.marks.file):
            with duck.connect() as con:
                scan = duck.parquet_scan([store.local(batch.marks.file)])
                query = f"SELECT 1 FROM {scan} WHERE {mark_id_sql(batch.dataset)} = ? LIMIT 1"
                if con.sql(query, params=[record.of]).fetchall():
                    return True
    return False


def _check_packs(store: Store, held: Holdings, ledger: Ledger) -> None:
    """Thumbnails of what was taken down: a killed take-down leaves them, and they are shown to nobody, but there."""
    taken = taken_of(standing_of(held.flags.values()))
    if not taken:
        return
    for name, revisions in held.revisions.items():
        try:
            uids = uids_taken(store, get_dataset(store, name), taken)
        except PairsieveError:
            continue  # a damaged file is said where files are hashed
        keys = [pack_key(piece.unit) for revision in revisions for piece in revision.slices]
        for key in keys if uids else ():
            if not store.exists(key):
                continue
            ledger.count(10, "packs of thumbnails")
            try:
                left = sorted(uids & packed_uids(store.local(key)))
            except PairsieveError:
                continue  # a damaged pack shows nothing
            if left:
                todo = f"run `pairsieve flags take-down {left[0]} --dataset {name}` again, which finishes it"
                ledger.error(10, key, f"{key} still has {len(left)} images that were taken down, {left[0]}", todo)
