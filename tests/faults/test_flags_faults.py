"""Flags under faults: writers killed at any step, many at once, and a bucket whose answers are lost."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pickapic_factory import rows, write
from s3_server import Proxy

from ranking.audit import audit
from ranking.datasets import get_dataset
from ranking.flags.book import read_book, standing
from ranking.flags.marking import add_mark, add_marks, withdraw
from ranking.flags.takedowns import read_takedowns, standing_of
from ranking.flags.taking import take_down
from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.store.snapshots import create_snapshot


class KilledError(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flags")
    ingest(Store.open(folder / "store"), write(folder / "pairs.parquet", rows(8)), "pets")
    return folder / "store"


@pytest.fixture
def place(ingested: Path, tmp_path: Path) -> Store:
    return Store.open(shutil.copytree(ingested, tmp_path / "copy"))


def marks(store: Store) -> pa.Table:
    paths = get_dataset(store, "pets").pairs_paths(store)
    ids = pa.concat_tables([pq.read_table(path, columns=["pair_id"]) for path in paths])["pair_id"]
    return pa.table({"pair_id": ids, "kind": ["unsafe"] * len(ids)})


def stands(store: Store) -> int:
    return int(standing(store, read_book(store, "pets")).num_rows)


def test_an_import_that_is_killed_at_any_step_says_nothing_or_all_and_the_same_again_finishes_it(
    ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(4):
        store = Store.open(shutil.copytree(ingested, tmp_path / f"step-{step}"))
        table, left = marks(store), step
        put_file, put_if_absent = Store.put_file, Store.put_if_absent

        def dying(method):  # type: ignore[no-untyped-def]
            def call(self, *given):  # type: ignore[no-untyped-def]
                nonlocal left
                if left == 0:
                    raise KilledError
                left -= 1
                done = method(self, *given)
                if left == 0:
                    raise KilledError  # after the step, before its answer
                left -= 1
                return done

            return call

        with monkeypatch.context() as patched:
            patched.setattr(Store, "put_file", dying(put_file))
            patched.setattr(Store, "put_if_absent", dying(put_if_absent))
            with pytest.raises(KilledError):
                add_marks(store, "pets", table, by="ann")
        assert stands(store) in (0, table.num_rows)
        assert audit(store).ok
        add_marks(store, "pets", table, by="ann")
        assert stands(store) == table.num_rows
        assert len([key for key in store.list("flags") if key.endswith(".json")]) == 1


def test_marking_and_withdrawing_at_once_leaves_records_that_agree(place: Store) -> None:
    pair = marks(place)["pair_id"][0].as_py()

    def person(number: int) -> None:
        for _ in range(2):
            mark, _ = add_mark(place, pair, kind="unsafe", by=f"rater-{number % 3}", door="api")
            withdraw(place, mark.id, by=f"rater-{number}", door="api")
        add_mark(place, pair, kind="unsafe", by=f"rater-{number % 3}", door="api")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(person, range(6)))
    for number in range(3):  # whoever was last may have withdrawn what another had just said again
        add_mark(place, pair, kind="unsafe", by=f"rater-{number}", door="api")
    assert stands(place) == 3
    assert audit(place).ok


def test_a_bucket_that_breaks_one_request_in_ten_has_every_flag_once(bucket: str, proxy: Proxy, tmp_path: Path) -> None:
    store = Store.open(bucket)
    ingest(store, write(tmp_path / "pairs.parquet", rows(4)), "pets")
    table = marks(store)
    pair = table["pair_id"][0].as_py()
    proxy.gamble(7, 0.1, "drop", "reset", 503)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: add_mark(store, pair, kind="duplicate", by="ann", door="api"), range(4)))
    assert sum(new for _, new in made) == 1
    add_marks(store, "pets", table, by="ann")
    take_down(store, "img-0", by="dpo", why="private", door="cli")
    snapshot = create_snapshot(store)
    proxy.gamble(7, 0.0)
    assert snapshot.flags is not None
    assert snapshot.flags.marks["pets"].count == table.num_rows + 1
    assert len(standing_of(read_takedowns(store))) == 1
    assert audit(store).ok
