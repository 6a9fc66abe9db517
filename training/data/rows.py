"""The pairs of a subset as training holds them: numbers and Arrow arrays, so that a million of them are 0.1 GB."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranking.errors import PairsieveError

_READ = ("pair_id", "prompt", "winner_uid", "loser_uid", "preference", "weight")


@dataclass(frozen=True)
class PairRows:
    """N pairs of a pinned subset, in its order. `texts` are its P distinct prompts and `uids` its M distinct images;
    `prompt`, `winner` and `loser` int32 (N,) are places in them. `preference` float32 (N,) is the probability that the
    winner is the better image, `weight` float32 (N,) what the recipe weighs it by. Pairs that are not among them:
    `taken_down` had an image that somebody took down since, if only a moment ago, `ties` were ties, and `unreadable`
    had an image that could not be read."""

    ref: str
    pair_ids: pa.Array
    texts: pa.Array
    prompt: NDArray[np.int32]
    uids: pa.Array
    winner: NDArray[np.int32]
    loser: NDArray[np.int32]
    preference: Tensor
    weight: Tensor
    taken_down: int = 0
    ties: int = 0
    unreadable: int = 0

    def __len__(self) -> int:
        return len(self.pair_ids)

    def at(self, places: NDArray[np.int64]) -> PairRows:
        """Some of them, in the order of their places; images and prompts keep theirs."""
        chosen = torch.from_numpy(places)
        return replace(
            self,
            pair_ids=self.pair_ids.take(pa.array(places)),
            prompt=self.prompt[places],
            winner=self.winner[places],
            loser=self.loser[places],
            preference=self.preference[chosen],
            weight=self.weight[chosen],
        )

    def without_ties(self) -> PairRows:
        """Those of which one is better."""
        decided = (self.preference != 0.5).numpy()
        if decided.all():
            return self
        return replace(self.at(np.flatnonzero(decided)), ties=self.ties + int((~decided).sum()))

    @property
    def images(self) -> NDArray[np.int32]:
        """Places of the images that these pairs show, ascending."""
        return np.unique(np.concatenate([self.winner, self.loser]))

    @property
    def prompts(self) -> int:
        """How many distinct prompts these pairs have."""
        return len(np.unique(self.prompt))

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the pairs in their order: two of the same mean that a place is the same pair."""
        found = hashlib.sha256(self.ref.encode())
        for start in range(0, len(self), 1 << 16):
            found.update("\n".join(self.pair_ids.slice(start, 1 << 16).to_pylist()).encode())
        return found.hexdigest()[:16]

    def ids_of(self, places: Sequence[int]) -> list[str]:
        """The ids of the pairs at these places."""
        return [self.pair_ids[place].as_py() for place in places]

    def prompts_of(self, places: Sequence[int]) -> list[str]:
        """Their captions."""
        return [self.texts[int(self.prompt[place])].as_py() for place in places]

    def images_of(self, places: Sequence[int]) -> list[str]:
        """The uids of their winners and then of their losers."""
        return [self.uids[int(side[place])].as_py() for side in (self.winner, self.loser) for place in places]


def rows_of(table: pa.Table, *, ref: str, taken_down: int = 0) -> PairRows:
    """The rows of a subset's pairs (schema SUBSET_PAIRS).

    Raises PairsieveError where their file is older than what is read of it.
    """
    missing = [name for name in _READ if name not in table.column_names]
    if missing:
        raise PairsieveError(
            f"the pairs file of subset {ref} has no {', '.join(missing)}: an older Pairsieve wrote it",
            code="old-subset",
            hint="make it anew with `pairsieve subset create` and train on that version",
        )
    count = table.num_rows
    prompts = _encoded(table["prompt"])
    images = _encoded(pa.chunked_array([*table["winner_uid"].chunks, *table["loser_uid"].chunks], pa.string()))
    places = images.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    return PairRows(
        ref=ref,
        pair_ids=_whole(table["pair_id"]),
        texts=prompts.dictionary,
        prompt=prompts.indices.to_numpy(zero_copy_only=False).astype(np.int32),
        uids=images.dictionary,
        winner=places[:count],
        loser=places[count:],
        preference=_floats(table["preference"]),
        weight=_floats(table["weight"]),
        taken_down=taken_down,
    )


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    return _whole(column.cast(pa.string())).dictionary_encode()


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _floats(column: pa.ChunkedArray) -> Tensor:
    return torch.from_numpy(column.to_numpy().astype(np.float32))
