"""What the ground floor's tests share: a dataset that two made-up scorers have scored."""

from hashlib import sha256

import pytest
from scored import score_all

from ranking.datasets import Dataset
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot


def opinion(scorer: str, uid: str) -> float:
    """A score between 0 and 1 that depends on nothing but the names."""
    return int(sha256(f"{scorer} {uid}".encode()).hexdigest()[:4], 16) / 65536


@pytest.fixture
def snapshot(store: Store, dataset: Dataset) -> Snapshot:
    """The dataset "pets" scored by "sharp" (all images) and "hue.2" (all but img-4, which has no bytes for
    it)."""
    return score_all(
        store,
        dataset.name,
        {
            "sharp@00000000": lambda uid: opinion("sharp", uid),
            "hue.2@11111111": lambda uid: None if uid == "img-4" else opinion("hue", uid),
        },
    )
