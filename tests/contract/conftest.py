"""Fixtures of the service, shared with its neighbours; but the store is a copy, as these tests post to every route."""

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
from service_factory import Site, empty, serving
from service_factory import site as read_only

from ranking.store.blobs import Store

__all__ = ["empty", "read_only", "site"]


@pytest.fixture(scope="session")
def site(read_only: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A Site for the whole session, which tests of this folder may write to."""
    store = Store.open(shutil.copytree(read_only.store.workspace, tmp_path_factory.mktemp("posted") / "store"))
    with serving(store) as client:
        yield replace(read_only, client=client, store=store)
