"""Finds the images that take-downs cover: by name, and by the bytes that facts of images tell of. Also takes pairs with
such an image out of a table."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from ranking import duck
from ranking.datasets import Dataset
from ranking.errors import PairsieveError
from ranking.flags.takedowns import LiveTakedowns, Taken
from ranking.images.decode import TakenDownError
from ranking.images.reader import FetchUrl, ImageReader
from ranking.names import sha256_hex
from ranking.schema import FACTS_NAME
from ranking.store.blobs import Store
from ranking.store.commits import Commit, committed_units, get_commit


def without_taken_down(
    store: Store, dataset: Dataset, pairs: pa.Table, *, columns: Iterable[str] = ("winner_uid", "loser_uid")
) -> tuple[pa.Table, int]:
    """The rows of a table of pairs none of whose images (named in `columns`) is taken down now, and how many others
    there were. For whatever leaves the store or trains: subsets stay as they are, what is made of them does not."""
    taken = LiveTakedowns(store).now()
    if not taken:
        return pairs, 0
    uids = pa.array(sorted(uids_taken(store, dataset, taken)), pa.string())
    keep = pa.repeat(pa.scalar(True), pairs.num_rows)
    for name in columns:
        keep = pc.and_(keep, pc.invert(pc.is_in(pairs[name].cast(pa.string()), value_set=uids)))
    kept = pairs.filter(keep)
    return kept, pairs.num_rows - kept.num_rows


def uids_taken(store: Store, dataset: Dataset, taken: Taken, *, unit: str | None = None) -> frozenset[str]:
    """The images of a dataset that must not be shown, as far as names and committed facts (of one unit, if
    named) tell. One whose bytes nobody has hashed yet is found when it is read."""
    found = taken.of(dataset.name)
    facts = _facts(store, dataset, unit=unit) if taken.contents else []
    if not facts:
        return found
    paths = store.checked_paths((commit.file, commit.sha256) for commit in facts)
    with duck.connect() as con:
        con.register("contents", pa.table({"sha256": pa.array(sorted(taken.contents), pa.string())}))
        query = f"SELECT DISTINCT image_uid FROM {duck.parquet_scan(paths)} SEMI JOIN contents USING (sha256)"
        return found | {row[0] for row in con.sql(query).fetchall()}


def image_sha256(store: Store, dataset: Dataset, uid: str, *, fetch: FetchUrl | None = None) -> str | None:
    """The SHA-256 of an image's bytes, from its facts or else its source; None where neither has it."""
    facts = _facts(store, dataset)
    if facts:
        paths = store.checked_paths((commit.file, commit.sha256) for commit in facts)
        with duck.connect() as con:
            query = f"""SELECT sha256 FROM {duck.parquet_scan(paths)}
                WHERE image_uid = ? AND sha256 IS NOT NULL LIMIT 1"""
            known = con.sql(query, params=[uid]).fetchall()
        if known:
            return str(known[0][0])
    try:
        data = ImageReader(store, dataset, fetch=fetch).read([uid]).get(uid)
    except PairsieveError:
        return None  # the source is gone: then nobody can show it either, and it may come back under this name only
    if isinstance(data, TakenDownError):
        return data.sha256
    return sha256_hex(data) if isinstance(data, bytes) else None


def _facts(store: Store, dataset: Dataset, *, unit: str | None = None) -> list[Commit]:
    units = {piece.unit for piece in dataset.slices if unit in (None, piece.unit)}
    wanted = [
        (facts_id, unit)
        for facts_id in store.children("commits")
        if facts_id.startswith(f"{FACTS_NAME}@")
        for unit in sorted(units & committed_units(store, facts_id))
    ]
    return store.each(lambda found: get_commit(store, scorer_id=found[0], unit=found[1]), wanted)
