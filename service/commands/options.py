"""Options and openings that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ranking.store.blobs import Store
    from ranking.store.snapshots import Snapshot

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def open_store() -> Store:
    """The store of this environment, proved usable."""
    from ranking.lean import without_pandas

    without_pandas()
    from ranking.settings import load_settings
    from ranking.store.blobs import Store

    return Store.open(load_settings().store)


def store_if_any() -> Store | None:
    """The store of this environment, or None where there is none yet: for commands that would not make one."""
    from pathlib import Path

    from ranking.settings import load_settings
    from ranking.store.bucket import is_bucket

    place = load_settings().store
    return open_store() if is_bucket(place) or Path(place).is_dir() else None


def split_names(text: str) -> list[str]:
    """The distinct names of "a,b, c", in order. UsageError where there is none."""
    from ranking.errors import UsageError

    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise UsageError("no name given", hint="write for example --scorers clip-toy,technical")
    return names


def snapshot_to_use(store: Store, number: int | None) -> Snapshot:
    """The numbered snapshot, else the latest one. NotFoundError where there is none yet."""
    from ranking.errors import NotFoundError
    from ranking.store.snapshots import get_snapshot, latest_snapshot

    found = latest_snapshot(store) if number is None else get_snapshot(store, number)
    if found is None:
        raise NotFoundError("the store has no snapshot yet", hint="run `pairsieve snapshot create`")
    return found
