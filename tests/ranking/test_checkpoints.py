"""Checkpoints as records: real from their marker on, first come first kept, older ones gone, damage noticed."""

from pathlib import Path

import pytest
from pickapic_factory import rows, write
from scored import score_all

from ranking.audit import audit
from ranking.checkpoints import (
    Checkpoint,
    checkpoint_folder,
    checkpoint_key,
    drop_checkpoints,
    list_checkpoints,
    put_checkpoint,
    read_checkpoint,
)
from ranking.errors import NotFoundError, StoreError
from ranking.ingest import ingest
from ranking.runs import plan_run
from ranking.store.blobs import Store
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset


@pytest.fixture
def run(store: Store, tmp_path: Path) -> str:
    ingest(store, write(tmp_path / "pairs.parquet", rows(6)), "pets")
    snapshot = score_all(store, "pets", {"sharp@00000000": lambda uid: len(uid) / 8})
    recipe = {"name": "best", "dataset": "pets", "metric": {"name": "random"}, "take": {"percent": 50}}
    return plan_run(store, create_subset(store, parse_recipe(recipe), snapshot).ref, {"steps": 9}).run_id


def put(store: Store, run: str, step: int, *, attempt: str = "a" * 32, content: bytes = b"weights") -> Checkpoint:
    folder = store.tmp() / f"state-{step}-{attempt[0]}"
    (folder / "rank-0").mkdir(parents=True)
    (folder / "state.safetensors").write_bytes(content)
    (folder / "rank-0" / "scaler.json").write_bytes(b"{}")
    return put_checkpoint(store, run, step, folder, attempt=attempt, facts={"torch": "2.15"})


def test_a_checkpoint_comes_back_as_it_was_put_aside(store: Store, run: str) -> None:
    made = put(store, run, 4)
    assert list_checkpoints(store, run) == [made]
    assert made.facts == {"torch": "2.15"}
    assert made.bytes == len(b"weights") + len(b"{}")
    folder = checkpoint_folder(store, made)
    assert (folder / "state.safetensors").read_bytes() == b"weights"
    assert (folder / "rank-0" / "scaler.json").read_bytes() == b"{}"
    assert audit(store).ok


def test_of_two_attempts_at_one_step_the_first_is_kept_whole(store: Store, run: str) -> None:
    first = put(store, run, 4, attempt="a" * 32, content=b"first")
    assert put(store, run, 4, attempt="b" * 32, content=b"second") == first
    assert (checkpoint_folder(store, first) / "state.safetensors").read_bytes() == b"first"
    assert not store.list(f"runs/{run}/checkpoints/0000000004/{'b' * 12}")


def test_older_checkpoints_go_with_their_files(store: Store, run: str) -> None:
    for step in (2, 10, 4):
        put(store, run, step)
    assert drop_checkpoints(store, run, keep=2) == 1
    assert [each.step for each in list_checkpoints(store, run)] == [4, 10]
    assert not store.list(f"runs/{run}/checkpoints/0000000002")
    assert drop_checkpoints(store, run) == 2
    assert store.list(f"runs/{run}/checkpoints") == []


def test_a_damaged_file_is_noticed_before_anybody_goes_on_from_it(store: Store, run: str) -> None:
    made = put(store, run, 4)
    path = store.local(made.key(made.files[-1]))
    path.write_bytes(b"w3ights")
    with pytest.raises(StoreError, match="damaged"):
        checkpoint_folder(store, made)
    (finding,) = audit(store).errors
    assert (finding.invariant, finding.key) == (3, made.key(made.files[-1]))
    path.unlink()
    with pytest.raises(StoreError, match="missing"):
        checkpoint_folder(store, made)


def test_a_marker_in_another_place_or_of_another_shape_is_none(store: Store, run: str) -> None:
    made = put(store, run, 4)
    store.put_if_absent(checkpoint_key(run, 5), store.get(checkpoint_key(run, made.step)))
    with pytest.raises(StoreError, match="step 4"):
        read_checkpoint(store, checkpoint_key(run, 5))
    store.put_if_absent(checkpoint_key(run, 6), b'{"step":6}')
    with pytest.raises(StoreError, match="does not read"):
        read_checkpoint(store, checkpoint_key(run, 6))
    with pytest.raises(NotFoundError):
        read_checkpoint(store, checkpoint_key(run, 7))
    assert {finding.invariant for finding in audit(store).errors} == {5}
