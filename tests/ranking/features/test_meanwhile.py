"""Working on a wide table while it is hashed: nothing that was read from other bytes comes out, or is kept."""

from pathlib import Path
from threading import Event

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pickapic_factory import Row, write
from scored import score_all

from ranking.errors import UsageError
from ranking.features import meanwhile
from ranking.features.columns import column_file, find_columns
from ranking.features.meanwhile import while_hashing
from ranking.features.pairs import PairTable
from ranking.ingest import ingest
from ranking.names import sha256_file
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot
from ranking.subsets.catalog import list_subsets
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset, rank

RECIPE = parse_recipe(
    {"name": "best", "dataset": "pets", "metric": {"name": "margin", "scorer": "sharp"}, "take": {"percent": 50}}
)


@pytest.fixture
def snapshot(store: Store, tmp_path: Path) -> Snapshot:
    rows = [Row(f"cat {n % 3}", f"a{n}", f"b{n}", winner=0) for n in range(9)]
    ingest(store, write(tmp_path / "pairs.parquet", rows), "pets")
    return score_all(store, "pets", {"sharp@00000000": lambda uid: float(uid[1:]) * (2 if uid[0] == "a" else 1)})


def forge(path: Path) -> bytes:
    """Give the losers the winners' scores: a file that reads well and is not what was built. Returns what was there."""
    whole = path.read_bytes()
    table = pq.read_table(path, partitioning=None)
    for side in (0, 1):
        name = f"sharp.{side}"
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(name), pc.negate(table[name]))
    pq.write_table(table, path)
    return whole


def test_a_forged_table_selects_nothing_and_is_built_again(store: Store, snapshot: Snapshot) -> None:
    good = rank(store, snapshot, RECIPE)
    path = PairTable(store, snapshot, "pets").path
    sha256 = sha256_file(path)
    forge(path)
    assert rank(store, snapshot, RECIPE).equals(good)
    assert sha256_file(path) == sha256
    forge(path)
    subset = create_subset(store, RECIPE, snapshot)
    assert [found.ref for found in list_subsets(store)] == [subset.ref]
    assert subset.ref == create_subset(store, RECIPE, snapshot).ref
    path.unlink()
    assert rank(store, snapshot, RECIPE).equals(good)
    path.write_bytes(b"PAR1 cut")
    assert rank(store, snapshot, RECIPE).equals(good)
    assert list(store.tmp().iterdir()) == []


def test_a_whole_table_is_worked_on_once_and_counts_as_hashed_afterwards(store: Store, snapshot: Snapshot) -> None:
    _ = PairTable(store, snapshot, "pets").path
    table, seen = PairTable(store, snapshot, "pets"), []
    assert while_hashing(table, lambda early: seen.append(early) or 7) == 7
    assert len(seen) == 1 and seen[0] is not table and table.hashed
    assert while_hashing(table, lambda again: again is table)


def test_what_work_raises_over_a_whole_table_is_raised_and_over_a_forged_one_forgotten(
    store: Store, snapshot: Snapshot
) -> None:
    path = PairTable(store, snapshot, "pets").path

    def fails(_: PairTable) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise UsageError("no")

    calls: list[int] = []
    with pytest.raises(UsageError):
        while_hashing(PairTable(store, snapshot, "pets"), fails)
    forge(path)
    calls.clear()
    while_hashing(PairTable(store, snapshot, "pets"), fails)
    assert len(calls) == 2


def test_a_file_that_was_put_right_after_it_was_read_proves_nothing(
    store: Store, snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = PairTable(store, snapshot, "pets").path
    right = tmp_path / "right"
    right.write_bytes(forge(path))
    replaced = Event()
    monkeypatch.setattr(meanwhile, "sha256_file", lambda file: (replaced.wait(30), sha256_file(file))[1])

    def read(table: PairTable) -> list[float]:
        found = pq.read_table(table.scanned, columns=["sharp.0"], partitioning=None)["sharp.0"].to_pylist()
        if right.exists():
            right.replace(path)
        replaced.set()
        return found

    assert min(while_hashing(PairTable(store, snapshot, "pets"), read)) == 0.0


def test_columns_beside_the_table_are_kept_only_after_the_hash(store: Store, snapshot: Snapshot) -> None:
    forge(PairTable(store, snapshot, "pets").path)
    kept = []

    def ask(table: PairTable) -> float:
        columns = table.column_sets["prompt-scale.sharp"]
        kept.append(find_columns(table, columns))
        found = pq.read_table(column_file(table, columns), partitioning=None)
        return min(found["sharp.prompt_mean"].to_pylist())

    assert while_hashing(PairTable(store, snapshot, "pets"), ask) > 0
    assert kept == [None, None]
