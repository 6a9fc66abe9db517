"""Takes images down and brings them back: the record, then the thumbnails. Sources are not ours to change."""

from dataclasses import dataclass, replace

import pyarrow as pa

from ranking import duck
from ranking.datasets import Dataset, dataset_names, get_dataset
from ranking.errors import NotFoundError, UnknownNameError, UsageError
from ranking.flags.copies import image_sha256, uids_taken
from ranking.flags.purge import purge_thumbnails
from ranking.flags.records import TAKEDOWNS, TakeDown, Withdrawal, parse_record, put_record, put_withdrawal
from ranking.flags.takedowns import read_takedowns, standing_of, taken_of
from ranking.flags.words import check_door, check_who, check_why
from ranking.images.reader import FetchUrl
from ranking.names import utc_now
from ranking.store.blobs import Store

_HEX = set("0123456789abcdef")


@dataclass(frozen=True)
class TookDown:
    """What a take-down came to: its record, whether it is new, the images it covers by dataset, the pairs they are in,
    and how many packs of thumbnails were rewritten."""

    record: TakeDown
    new: bool
    images: dict[str, tuple[str, ...]]
    pairs: dict[str, int]
    packs: int


def take_down(
    store: Store,
    uid: str | None = None,
    *,
    sha256: str | None = None,
    dataset: str | None = None,
    by: str,
    why: str,
    door: str,
    fetch: FetchUrl | None = None,
) -> TookDown:
    """Take an image down: the image `uid` of a dataset (the first that has it, unless named) and all with the same
    bytes; or all images with the bytes `sha256`, known here or not. To be repeated at will: it finishes what a killed
    call left.

    The hash of a named image is taken from its facts, else from its source; where neither can be had, only the name
    counts. UnknownNameError for an unknown image, UsageError without a reason.
    """
    who, reason, door = check_who(by), check_why(why, needed=True), check_door(door)
    if (uid is None) == (sha256 is None):
        raise UsageError("name one image, or the SHA-256 of one", code="bad-flag")
    home: Dataset | None = None
    if uid is not None:
        home = _home_of(store, uid, dataset=dataset)
        sha256 = image_sha256(store, home, uid, fetch=fetch)
    elif sha256 is None or len(sha256) != 64 or not set(sha256) <= _HEX:
        raise UsageError(f"{sha256!r} is no SHA-256", code="bad-flag", hint="give 64 hex digits")
    name = home.name if home else None
    record = TakeDown(name, uid, sha256, 0, who, reason, door, utc_now())
    records = read_takedowns(store)
    withdrawn = {each.of for each in records if isinstance(each, Withdrawal)}
    # The same image may have been taken down while its hash was not known, or the other way round.
    same = [each for each in standing_of(records) if (each.dataset, each.uid) == (name, uid) and uid is not None]
    found = next((each for each in same if each.sha256 == sha256 or sha256 is None), None)
    new = False
    if found is None:
        while record.id in withdrawn:
            record = replace(record, turn=record.turn + 1)
        new = put_record(store, record)
        if not new:
            kept = parse_record(store.get(record.key), record.key)
            found = kept if isinstance(kept, TakeDown) else None
    record = found or record
    images = covered_images(store, record)
    packs = purge_thumbnails(store, images)
    return TookDown(record, new, images, {name: _pairs_with(store, name, uids) for name, uids in images.items()}, packs)


def withdraw_takedown(store: Store, takedown_id: str, *, by: str, why: str = "", door: str) -> tuple[Withdrawal, bool]:
    """Let an image be shown again: from the next snapshot on its pairs are back. The withdrawal, and whether it is
    new; NotFoundError for an unknown id. Thumbnails are made again when somebody looks."""
    who, reason, door = check_who(by), check_why(why), check_door(door)
    if not is_takedown(store, takedown_id):
        raise NotFoundError(f"there is no take-down {takedown_id}", hint="`pairsieve flags list` shows them")
    return put_withdrawal(store, Withdrawal(takedown_id, None, who, reason, door, utc_now()))


def is_takedown(store: Store, flag_id: str) -> bool:
    """Whether an id is that of a take-down, withdrawn or not."""
    return store.exists(f"{TAKEDOWNS}/images/{flag_id}.json")


def covered_images(store: Store, record: TakeDown) -> dict[str, tuple[str, ...]]:
    """The images that a take-down covers, as far as facts tell: uids by dataset, sorted."""
    taken = taken_of([record])
    found = {name: uids_taken(store, get_dataset(store, name), taken) for name in dataset_names(store)}
    return {name: tuple(sorted(uids)) for name, uids in found.items() if uids}


def _pairs_with(store: Store, dataset: str, uids: tuple[str, ...]) -> int:
    paths = get_dataset(store, dataset).pairs_paths(store)
    if not paths:
        return 0
    with duck.connect() as con:
        con.register("uids", pa.table({"uid": pa.array(uids, pa.string())}))
        query = f"""SELECT count(*) FROM {duck.parquet_scan(paths)}
            WHERE image_0_uid IN (SELECT uid FROM uids) OR image_1_uid IN (SELECT uid FROM uids)"""
        return int(con.sql(query).fetchall()[0][0])


def _home_of(store: Store, uid: str, *, dataset: str | None) -> Dataset:
    names = [dataset] if dataset is not None else dataset_names(store)
    near: list[str] = []
    for name in names:
        known = get_dataset(store, name)
        paths = known.items_paths(store)
        if not paths:
            continue
        with duck.connect() as con:
            items = duck.parquet_scan(paths)
            if con.sql(f"SELECT 1 FROM {items} WHERE image_uid = ? LIMIT 1", params=[uid]).fetchall():
                return known
            if len(uid) <= 200:
                found = con.sql(
                    f"""SELECT DISTINCT image_uid, levenshtein(image_uid, $uid) AS far FROM {items}
                        WHERE levenshtein(image_uid, $uid) <= 6 OR starts_with(image_uid, $uid)
                        ORDER BY far, image_uid LIMIT 3""",
                    params={"uid": uid},
                ).fetchall()
                near += [row[0] for row in found]
    where = f"dataset {dataset}" if dataset else "the store"
    hint = f"did you mean {', '.join(near[:3])}" if near else "a pair's page and `/v1/pairs` show the uids"
    raise UnknownNameError(f"{where} has no image {uid[:100]!r}", hint=hint)
