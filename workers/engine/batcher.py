"""Between decoders and scorer: pieces of bytes become pictures, and pictures batches of the size that the device likes.
Equal bytes are decoded, and then embedded, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ranking.images import Found
from workers.engine.decoders import Decoders
from workers.engine.decoding import Examined, Wanted
from workers.engine.reader import Piece
from workers.engine.report import Stopwatch

_TAIL = 512


@dataclass(frozen=True)
class Shown:
    """Images of a slice whose bytes are equal: their uids, and the item rows that show them."""

    uids: tuple[str, ...]
    rows: tuple[int, ...]

    def __str__(self) -> str:
        return "image " + ", ".join(self.uids)


Decoded = tuple[Shown, Examined]


def decode_pieces(
    pieces: Iterable[Piece], decoders: Decoders, watch: Stopwatch, *, wanted: Wanted
) -> Iterator[Decoded]:
    """What was made of each picture of the pieces, in any order."""
    pictures = ((shown, data) for piece in pieces for shown, data in _distinct(piece))
    for shown, examined in decoders.examine_all(pictures, wanted):
        watch.add("decode", examined.seconds)
        yield shown, examined


def batches(decoded: Iterable[Decoded], at_once: int) -> Iterator[list[Decoded]]:
    """The same in lists of `at_once` pictures, of which the last may be shorter."""
    batch: list[Decoded] = []
    for each in decoded:
        batch.append(each)
        if len(batch) >= at_once:
            yield batch
            batch = []
    if batch:
        yield batch


def _distinct(piece: Piece) -> Iterator[tuple[Shown, Found]]:
    groups: dict[object, list[str]] = {}
    for uid, data in piece.images.items():
        # Bytes that end alike are compared as a whole, which is cheaper than to hash them all.
        key: object = (len(data), data[-_TAIL:]) if isinstance(data, bytes) else object()
        same = groups.setdefault(key, [])
        if same and piece.images[same[0]] != data:
            same = groups.setdefault(object(), [])
        same.append(uid)
    for uids in groups.values():
        rows = tuple(row for uid in uids for row in piece.rows[uid])
        yield Shown(tuple(uids), rows), piece.images[uids[0]]
