"""Trained scorers in the store: numbered, content-addressed, first come first served."""

from dataclasses import replace

import pytest

from ranking.audit import audit
from ranking.errors import NotFoundError, StoreError, UnknownNameError, UsageError
from ranking.store.blobs import Store
from ranking.trained import TrainedScorer, get_trained, list_trained, manifest_key, put_trained, trained_versions


def put(
    store: Store, *, training: str = "a", version: int = 1, name: str = "mine", weights: bytes = b"w"
) -> TrainedScorer:
    folder = store.tmp() / f"made-{training}-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in (("head.safetensors", weights), ("report.json", b"{}")):
        (folder / file).write_bytes(data)
    return put_trained(
        store,
        name=name,
        version=version,
        kind="head",
        training=training,
        summary="a test's",
        base="clip-toy@0123456789ab",
        code_version=1,
        options={"head": "linear"},
        files={"head.safetensors": folder / "head.safetensors"},
        papers={"report.json": folder / "report.json"},
        facts={"dataset": "toy"},
    )


def test_a_version_is_read_back_with_its_files(store: Store) -> None:
    found = put(store)
    assert get_trained(store, "mine") == found and list_trained(store) == [found]
    assert store.get(found.key(found.files[0])) == b"w" and store.get(found.paper("report.json")) == b"{}"
    assert put(store, version=2, training="b").version == 2
    assert get_trained(store, "mine").version == 2 and get_trained(store, "mine", version=1) == found
    assert audit(store).findings == ()


def test_it_is_the_same_in_a_bucket(bucket: str) -> None:
    store = Store.open(bucket)
    found = put(store)
    assert store.local(found.key(found.files[0])).name == "head.safetensors"
    again = Store.open(bucket)
    assert list_trained(again) == [found] and audit(again).findings == ()


def test_of_two_trainings_the_first_has_the_number(store: Store) -> None:
    first = put(store, training="a")
    assert put(store, training="a", weights=b"other bits of the same training") == first
    with pytest.raises(UsageError, match="mine v1 is there already"):
        put(store, training="b", weights=b"x")
    assert get_trained(store, "mine") == first and trained_versions(store, "mine") == [1]


def test_what_is_not_there_is_said_in_one_line(store: Store) -> None:
    put(store)
    with pytest.raises(UnknownNameError, match="unknown trained scorer 'mime'; did you mean mine"):
        get_trained(store, "mime")
    with pytest.raises(NotFoundError, match="no version 7; its newest is 1"):
        get_trained(store, "mine", version=7)
    with pytest.raises(NotFoundError, match=r"has no page\.html"):
        get_trained(store, "mine").paper("page.html")


def test_a_damaged_record_is_found_by_readers_and_audit(store: Store) -> None:
    key = manifest_key("mine", 1)
    found = put(store)
    store.delete(key)
    store.put_if_absent(key, b'{"name":"mine"}')
    with pytest.raises(StoreError, match="does not read as a trained scorer"):
        get_trained(store, "mine")
    assert (5, key) in [(each.invariant, each.key) for each in audit(store).errors]
    assert replace(found, created="x") == found
