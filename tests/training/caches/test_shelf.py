"""A shelf gives back what was put, notices what is damaged, and stays while it is in use."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ranking.errors import PairsieveError
from training.caches.shelf import Keys, Shelf, keys_of

Open = Callable[..., Shelf]


def put(shelf: Shelf, *names: str, shape: tuple[int, ...] = (2, 3)) -> Keys:
    keys = keys_of(names)
    shelf.put(keys, {"value": np.stack([np.full(shape, float(name), np.float32) for name in names])})
    return keys


def values(shelf: Shelf, *names: str) -> list[float]:
    return [float(each) for each in shelf.rows(keys_of(names))["value"][:, 0, 0]]


def test_rows_come_back_in_the_order_asked_for_and_as_often(open_shelf: Open) -> None:
    shelf = open_shelf()
    put(shelf, "1", "2", "3")
    put(shelf, "4")
    assert values(shelf, "4", "2", "4", "1") == [4, 2, 4, 1]
    assert shelf.has(keys_of(["3", "5"])).tolist() == [True, False]
    with pytest.raises(KeyError):
        shelf.rows(keys_of(["5"]))


def test_rows_of_several_shapes_share_a_shelf(open_shelf: Open) -> None:
    shelf = open_shelf()
    put(shelf, "1", shape=(2, 3))
    put(shelf, "2", shape=(4, 5))
    assert shelf.rows(keys_of(["2"]))["value"].shape == (1, 4, 5)


def test_what_one_process_has_put_another_sees_when_it_looks_again(open_shelf: Open) -> None:
    one, other = open_shelf(), open_shelf()
    keys = put(one, "1")
    assert not other.has(keys).any()
    other.refresh()
    assert values(other, "1") == [1]


def test_another_identity_is_another_shelf(open_shelf: Open) -> None:
    keys = put(open_shelf(vae="a"), "1")
    assert not open_shelf(vae="b").has(keys).any()
    assert open_shelf(vae="a").has(keys).all()


def test_no_row_is_in_memory_before_it_is_read(open_shelf: Open) -> None:
    """diffusers' SDXL script keeps every precomputed latent in RAM."""
    shelf = open_shelf()
    put(shelf, *map(str, range(64)), shape=(256, 256))  # 16 MiB
    reopened = open_shelf()
    before = _resident()
    reopened.rows(keys_of(["3"]))
    assert _resident() - before < 4 * 2**20
    assert len(list(Path("/proc/self/fd").iterdir())) < 100


@pytest.mark.parametrize("how", ["cut", "emptied", "header", "keys"])
def test_a_shard_that_is_not_whole_is_gone_when_the_shelf_is_opened(open_shelf: Open, how: str) -> None:
    shelf = open_shelf()
    keys = put(shelf, "1", "2")
    (path,) = (shelf.folder / "shards").iterdir()
    data = bytearray(path.read_bytes())
    if how == "keys":
        data[data.index(keys.tobytes())] ^= 1
    path.write_bytes({"cut": data[:-1], "emptied": b"", "header": b"\0" * 40 + data[40:], "keys": data}[how])
    reopened = open_shelf()
    assert not reopened.has(keys).any()
    assert not path.exists()


def test_a_flipped_bit_is_found_before_a_run_and_only_its_shard_goes(open_shelf: Open) -> None:
    shelf = open_shelf()
    damaged, whole = put(shelf, "1", "2"), put(shelf, "3")
    _flip_a_bit_of(2.0, shelf)
    reopened = open_shelf()
    assert reopened.has(damaged).all(), "the length is right, so opening does not show it"
    assert reopened.drop_damaged(np.concatenate([damaged, whole])) == 1
    assert reopened.has(damaged).tolist() == [False, False]
    assert reopened.has(whole).all()


def test_a_flipped_bit_is_never_given_out_as_a_number(open_shelf: Open) -> None:
    shelf = open_shelf()
    put(shelf, "1", "2")
    _flip_a_bit_of(2.0, shelf)
    reopened = open_shelf()
    assert values(reopened, "1") == [1]
    with pytest.raises(PairsieveError, match="damaged; start the run again") as raised:
        reopened.rows(keys_of(["2"]))
    assert raised.value.code == "cache-damaged"


def test_an_unfinished_file_of_a_dead_process_goes_after_an_hour(open_shelf: Open) -> None:
    shelf = open_shelf()
    old, new = shelf.folder / "tmp" / "old", shelf.folder / "tmp" / "new"
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (0, 0))
    open_shelf()
    assert not old.exists()
    assert new.exists(), "somebody may be writing it"


def _flip_a_bit_of(value: float, shelf: Shelf) -> None:
    for path in (shelf.folder / "shards").iterdir():
        data = bytearray(path.read_bytes())
        where = data.find(np.float32(value).tobytes())
        if where >= 0:
            data[where] ^= 1
            path.write_bytes(data)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
