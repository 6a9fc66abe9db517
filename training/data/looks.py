"""Which pictures a run looks at and how each is framed, where that is the same at every visit and can be kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.blocks import DataConfig
from training.data.buckets import Buckets
from training.data.framing import Framing
from training.data.rows import PairRows
from training.data.uids import Places


@dataclass(frozen=True)
class Looks:
    """L framings of M distinct pictures (`uids`): sorted int32 (L,) places of `image` in them, int16 (L,) places of
    `size` in `sizes`. Where pictures are `flipped`, each is looked at both ways."""

    uids: pa.Array
    sizes: tuple[tuple[int, int], ...]
    image: NDArray[np.int32]
    size: NDArray[np.int16]
    flipped: bool

    def __len__(self) -> int:
        """How many latents there are to make."""
        return len(self.image) * (2 if self.flipped else 1)

    @property
    def places(self) -> Places:
        """Finds a picture among `uids`."""
        return Places(self.uids)

    def framings(self, image: int) -> list[Framing]:
        """How one picture is framed, by its place; all crops are of the centre."""
        first, end = np.searchsorted(self.image, [image, image + 1])
        ways = (False, True) if self.flipped else (False,)
        return [Framing(self.sizes[at], flipped=way) for at in self.size[first:end] for way in ways]

    def counts(self) -> dict[tuple[int, int], int]:
        """How many latents there are of each size."""
        found = np.bincount(self.size, minlength=len(self.sizes)) * (2 if self.flipped else 1)
        return {size: int(count) for size, count in zip(self.sizes, found, strict=True) if count}


def looks_of(rows: PairRows, buckets: Buckets, data: DataConfig) -> Looks:
    """What these pairs need: both pictures of a pair in its size."""
    needed = np.concatenate([rows.winner, rows.loser]).astype(np.int64) * len(buckets.sizes)
    needed = np.unique(needed + np.concatenate([buckets.of, buckets.of]))
    images, image = np.unique(needed // len(buckets.sizes), return_inverse=True)
    size = (needed % len(buckets.sizes)).astype(np.int16)
    return Looks(rows.uids.take(pa.array(images)), buckets.sizes, image.astype(np.int32), size, data.flip)
