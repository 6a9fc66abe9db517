"""What training asks of a subset's table."""

import pytest

from ranking.errors import PairsieveError
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset, subset_pairs
from training.data.rows import rows_of


def test_a_subset_from_before_pairs_had_preferences_and_weights_is_said_in_one_line(
    store: Store, subset: Subset
) -> None:
    old = subset_pairs(store, subset).drop_columns(["preference", "weight"])
    with pytest.raises(PairsieveError, match=f"{subset.ref} has no preference, weight") as caught:
        rows_of(old, ref=subset.ref)
    assert "\n" not in str(caught.value) and "make it anew" in str(caught.value)
