"""Latents made anew at every visit, where pictures are cut elsewhere each time and nothing can be kept."""

from __future__ import annotations

import atexit
import logging
import signal
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ranking.images import ImageError, decode_rgb
from training.data.encoding import Storage, encode_pictures
from training.data.framing import Framing, frame
from training.data.later import Later, Reading
from training.models.base import DiffusionModel

log = logging.getLogger("pairsieve.training")


@dataclass(frozen=True)
class Look:
    """What has to be read and how it is framed: N pictures, some of them perhaps the same. Can be pickled."""

    reading: Reading
    uids: tuple[str, ...]
    framings: tuple[Framing, ...]


@dataclass(frozen=True)
class Seen:
    """`pixels` float32 (N, 3, H, W) in [−1, 1], `geometry` int64 (N, 6), and which of them could be read (`there`, bool
    (N,)): the others are grey."""

    pixels: Tensor
    geometry: Tensor
    there: Tensor


def see(look: Look) -> Seen:
    """Read, decode and frame."""
    bytes_of, framed, told, there = look.reading(), [], [], []
    for uid, framing in zip(look.uids, look.framings, strict=True):
        try:
            found = frame(decode_rgb(bytes_of.get(uid)), framing)
        except ImageError as error:
            log.warning("a picture that was there when the run began cannot be read, its pair waits: %s", error)
            framed.append(torch.zeros(3, *framing.size))
            told.append((*framing.size, 0, 0, *framing.size))
            there.append(False)
        else:
            framed.append(found.pixels)
            told.append(found.geometry)
            there.append(True)
    return Seen(torch.stack(framed), torch.tensor(told), torch.tensor(there))


class FreshLatents:
    """Reads, frames and encodes when it is asked. With `workers` as many processes read and frame ahead what `follow`
    says will be asked for next: what comes, and in which order, is the same without them."""

    def __init__(self, later: Later, model: DiffusionModel, *, storage: Storage, workers: int = 0) -> None:
        self._later, self._model, self._storage, self._workers = later, model, storage, workers
        self._ahead: Iterator[tuple[Look, Seen]] | None = None

    def look(self, uids: Sequence[str], framings: Sequence[Framing]) -> Look:
        """What `see` needs for these, in this process or another."""
        return Look(self._later(tuple(dict.fromkeys(uids))), tuple(uids), tuple(framings))

    def follow(self, coming: Iterable[tuple[Sequence[str], Sequence[Framing]]]) -> None:
        """Begin to see what will be asked for next, in this order; whatever was followed before is let go."""
        self.stop()
        if self._workers:
            looks = (self.look(uids, framings) for uids, framings in coming)
            loader = DataLoader(
                _Seeing(),
                sampler=_Sequence(looks),
                batch_size=None,
                num_workers=self._workers,
                prefetch_factor=2,
                multiprocessing_context="spawn",
                worker_init_fn=_leave_signals,
            )
            with _kept_from_signals():
                self._ahead = iter(loader)
            _SEEING_AHEAD.add(self)

    def stop(self) -> None:
        """End the processes that see ahead."""
        self._ahead = None
        _SEEING_AHEAD.discard(self)

    def seen(self, uids: Sequence[str], framings: Sequence[Framing]) -> Seen:
        """Pictures, seen ahead or now."""
        if self._ahead is not None:
            why = "they are asked for in another order than was said"
            try:
                look, seen = next(self._ahead, (None, None))
            except RuntimeError as error:
                look, seen, why = None, None, str(error).partition("\n")[0]
            if look is not None and seen is not None and (look.uids, look.framings) == (tuple(uids), tuple(framings)):
                return seen
            self.stop()
            log.warning("pictures are no longer seen ahead: %s", why)
        return see(self.look(uids, framings))

    def encoded(self, seen: Seen) -> Tensor:
        """The latents of what was seen, float32 (N, C, h, w)."""
        return encode_pictures(self._model, list(seen.pixels), storage=self._storage)

    def __call__(self, uids: Sequence[str], framings: Sequence[Framing]) -> tuple[Tensor, Tensor]:
        """See `training.data.protocols.Latents`."""
        seen = self.seen(uids, framings)
        return self.encoded(seen), seen.geometry


# What ends a run is sent to its whole group; it needs its helpers until it has put its state aside, and they go when it
# does.
_ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def _kept_from_signals() -> Iterator[None]:
    # Processes that start inside inherit what is blocked, so that not even their first seconds are in danger; to this
    # one a signal comes at the end. The tracker unblocks when it starts, hence before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_signals(_: int) -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


_SEEING_AHEAD: weakref.WeakSet[FreshLatents] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    # Multiprocessing ends after this. It would have them go by a signal that they ignore, and wait for ever.
    for each in list(_SEEING_AHEAD):
        each.stop()


class _Seeing(Dataset[tuple[Look, Seen]]):
    def __getitem__(self, look: Look) -> tuple[Look, Seen]:
        return look, see(look)


class _Sequence(Sampler[Look]):
    def __init__(self, looks: Iterator[Look]) -> None:
        self._looks = looks

    def __iter__(self) -> Iterator[Look]:
        return self._looks
