"""Takes the thumbnails of images that were taken down out of the store. Touches no source."""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from ranking import duck
from ranking.datasets import Dataset, get_dataset
from ranking.flags.copies import uids_taken
from ranking.flags.takedowns import LiveTakedowns
from ranking.images.thumbnails import drop_thumbnails
from ranking.store.blobs import Store


def purge_thumbnails(store: Store, images: Mapping[str, Iterable[str]]) -> int:
    """Make every pack anew that has one of these images (uids by dataset); returns how many there were."""
    done = 0
    for name, uids in images.items():
        wanted = frozenset(uids)
        for unit in _units_showing(store, get_dataset(store, name), wanted):
            done += drop_thumbnails(store, unit, wanted)
    return done


def purge_unit(store: Store, dataset: Dataset, unit: str) -> bool:
    """The same of one unit's pack, for whoever has just put it there; False if it showed nothing it should not.

    An image may be taken down while a unit is scored. Whoever takes one down looks at the packs after its record is
    there, and whoever puts a pack looks here at the records after the pack and the facts are: one of them sees it.
    """
    taken = LiveTakedowns(store).now()
    if not taken:
        return False
    return drop_thumbnails(store, unit, uids_taken(store, dataset, taken, unit=unit))


def _units_showing(store: Store, dataset: Dataset, uids: frozenset[str]) -> list[str]:
    paths = dataset.items_paths(store)
    if not paths or not uids:
        return []
    with duck.connect() as con:
        con.register("uids", pa.table({"image_uid": pa.array(sorted(uids), pa.string())}))
        query = f"SELECT DISTINCT slice FROM {duck.parquet_scan(paths)} SEMI JOIN uids USING (image_uid) ORDER BY 1"
        return [row[0] for row in con.sql(query).fetchall()]
