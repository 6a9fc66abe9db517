"""What a collection has put aside, and how a writer gets it back. Does not decide what is put aside."""

from collections.abc import Iterable

from ranking.errors import StoreError
from ranking.store.blobs import Store

TRASH = "trash"


def trash_key(collection: str, key: str) -> str:
    """Where a collection puts a key aside."""
    return f"{TRASH}/{collection}/{key}"


def original_key(trashed: str) -> str:
    """The key that a blob of the trash had before."""
    return trashed.split("/", 2)[2]


def bring_back(store: Store, key: str) -> bool:
    """Give a key back what a collection put aside under it. False if no collection has it."""
    for collection in reversed(store.children(TRASH)):
        if store.exists(trash_key(collection, key)):
            store.move(trash_key(collection, key), key)
            return store.exists(key)
    return False


def settle(store: Store, keys: Iterable[str]) -> None:
    """What a writer calls when its marker is placed: every file that the marker names is there, or comes back
    from the trash.

    A collection looks at the markers after it has put a file aside, and the writer at the files after it has
    placed its marker; so one of the two sees the other, whatever the order. StoreError if a file is gone for
    good.
    """
    for key in keys:
        if not store.exists(key) and not bring_back(store, key) and not store.exists(key):
            raise StoreError(
                f"{key} was collected before anything named it", code="collected", hint="do the same again"
            )
