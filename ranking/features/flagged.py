"""What a snapshot's flags say of each pair and item of a dataset, as vectors: marks counted, and which images may be
shown. Decides nothing about recipes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking.datasets import Dataset
from ranking.features.items import image_numbers
from ranking.flags.pinned import pinned_marks, pinned_takedowns
from ranking.flags.takedowns import taken_in
from ranking.flags.words import KINDS
from ranking.images.facts import FACTS_ID
from ranking.store.blobs import Store
from ranking.store.snapshots import Member, Snapshot

FLAG_COLUMNS = (pa.field("flags", pa.int32()), *(pa.field(f"flag_{kind}", pa.bool_()) for kind in KINDS))
"""The columns of a wide table that marks have: how many stand, and whether one of each kind does."""

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PairMarks:
    """The marks of n pairs: `count` int32 of shape (n,), and for each kind whether there is one, bool of shape (n,)."""

    count: npt.NDArray[np.int32]
    kinds: dict[str, Bool]

    def columns(self, part: slice) -> list[pa.Array]:
        """FLAG_COLUMNS of some of the pairs."""
        return [pa.array(self.count[part]), *(pa.array(found[part]) for found in self.kinds.values())]


def pair_marks(store: Store, snapshot: Snapshot, dataset: str, ids: npt.NDArray[np.uint64]) -> PairMarks:
    """What the snapshot's marks say of pairs whose ids spell these numbers. StoreError if they are damaged."""
    marks = pinned_marks(store, snapshot.flags, dataset)
    marked, which = np.unique(id_numbers(marks["pair_id"].combine_chunks()), return_inverse=True)
    if not len(marked):
        nothing = np.zeros(len(ids), bool)
        return PairMarks(np.zeros(len(ids), np.int32), dict.fromkeys(KINDS, nothing))
    place = np.minimum(np.searchsorted(marked, ids), len(marked) - 1)
    hit = marked[place] == ids
    count = np.where(hit, np.bincount(which, minlength=len(marked))[place], 0).astype(np.int32)
    kinds = {}
    for kind in KINDS:
        mine = pc.equal(marks["kind"], kind).to_numpy(zero_copy_only=False)
        kinds[kind] = hit & (np.bincount(which[mine], minlength=len(marked)) > 0)[place]
    return PairMarks(count, kinds)


def hidden_images(
    store: Store, snapshot: Snapshot, dataset: Dataset, facts: Sequence[Member] | None = None
) -> frozenset[str]:
    """The images of the dataset that the snapshot's take-downs name, or whose bytes they name by the snapshot's facts
    (those of the dataset, where they are not given)."""
    named, contents = taken_in(pinned_takedowns(store, snapshot.flags), dataset.name)
    if facts is None:
        units = {piece.unit for piece in dataset.slices}
        facts = [each for each in snapshot.members if each.scorer_id == FACTS_ID and each.unit in units]
    return named | _with_contents(store, facts, contents)


def shown_items(store: Store, snapshot: Snapshot, dataset: Dataset, facts: Sequence[Member]) -> Bool | None:
    """For each item of the dataset whether its image may be shown, bool of shape (n_items,); None where all may."""
    taken = hidden_images(store, snapshot, dataset, facts)
    if not taken:
        return None
    uids = image_numbers(store, dataset)
    hidden = pc.is_in(uids.dictionary, value_set=pa.array(sorted(taken), pa.string()))
    if not pc.any(hidden).as_py():
        return None
    shown: Bool = ~hidden.to_numpy(zero_copy_only=False)[uids.indices.to_numpy()]
    return shown


def _with_contents(store: Store, facts: Sequence[Member], contents: frozenset[str]) -> frozenset[str]:
    """The images whose bytes have one of these hashes."""
    wanted, found = pa.array(sorted(contents), pa.string()), set[str]()
    for path in store.checked_paths((member.file, member.sha256) for member in facts) if contents else ():
        table = pq.read_table(path, columns=["image_uid", "sha256"], partitioning=None)
        found.update(table.filter(pc.is_in(table["sha256"], value_set=wanted))["image_uid"].to_pylist())
    return frozenset(found)


def id_numbers(ids: pa.Array) -> npt.NDArray[np.uint64]:
    """Ids of sixteen hex digits as the numbers they spell."""
    texts = pa.concat_arrays([ids])  # from offset 0
    digits = np.frombuffer(texts.buffers()[2] or b"", np.uint8)[: 16 * len(texts)].reshape(-1, 16)
    values = (digits & 15) + 9 * (digits >> 6)  # "0" to "9" and "a" to "f"
    pairs = values[:, 0::2] << 4 | values[:, 1::2]
    return np.ascontiguousarray(pairs).view(">u8").reshape(-1).astype(np.uint64)
