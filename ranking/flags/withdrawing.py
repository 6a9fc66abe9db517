"""One door for the ids of all flags: finding what one names, and withdrawing it."""

from dataclasses import asdict
from typing import Any

import pyarrow.compute as pc

from ranking.flags.book import history, read_book
from ranking.flags.listing import list_takedowns
from ranking.flags.marking import home_of, withdraw
from ranking.flags.records import Batch, Withdrawal, flag_folder, parse_record
from ranking.flags.taking import is_takedown, withdraw_takedown
from ranking.names import check_id
from ranking.store.blobs import Store


def withdraw_flag(store: Store, flag_id: str, *, by: str, why: str = "", door: str) -> tuple[Withdrawal, bool]:
    """Withdraw a mark, a batch or a take-down by its id. The withdrawal, and whether it is new; NotFoundError for an id
    that nothing has."""
    check_id("flag", flag_id)
    if is_takedown(store, flag_id):
        return withdraw_takedown(store, flag_id, by=by, why=why, door=door)
    return withdraw(store, flag_id, by=by, why=why, door=door)


def find_flag(store: Store, flag_id: str) -> dict[str, Any]:
    """What is known of a flag: `what` (mark, batch or take-down), what it says, and `withdrawn`, `withdrawn_by`,
    `withdrawn_why`, null where it stands. NotFoundError for an id that nothing has."""
    check_id("flag", flag_id)
    if is_takedown(store, flag_id):
        return {"what": "take-down"} | next(row for row in list_takedowns(store) if row["id"] == flag_id)
    home = home_of(store, flag_id)
    book = read_book(store, home)
    key = f"{flag_folder(home)}/batches/{flag_id}.json"
    if store.exists(key):
        batch = parse_record(store.get(key), key)
        assert isinstance(batch, Batch)
        end = book.withdrawn.get(flag_id)
        facts = asdict(batch) | {"what": "batch", "id": flag_id, "marks": batch.marks.rows}
        ended = {"withdrawn": end.created, "withdrawn_by": end.by, "withdrawn_why": end.why} if end else {}
        return facts | (ended or dict.fromkeys(("withdrawn", "withdrawn_by", "withdrawn_why")))
    told = history(store, book)
    row: dict[str, Any]
    (row,) = told.filter(pc.equal(told["id"], flag_id)).to_pylist()
    return {"what": "mark", "dataset": home} | row
