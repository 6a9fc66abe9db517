"""The text states of each prompt, on disk, those of the empty one among them: once they are there no text encoder is
needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from training.caches.filling import Part
from training.caches.places import Identity
from training.caches.shelf import Shelf, keys_of
from training.caches.work import Work
from training.config import TrainConfig
from training.data.encoding import arithmetic, encode_texts
from training.models.base import Conditioning, DiffusionModel

VERSION = 2
"""To be raised when a prompt is cut, tokenised or encoded otherwise than before."""

_AT_ONCE = 32


def prompts_identity(model: DiffusionModel, config: TrainConfig) -> Identity:
    """All that text states depend on, but for the prompt, which names the row."""
    key = {
        "version": VERSION,
        "text": model.text_fingerprint,
        "storage": config.cache.storage,
        "arithmetic": arithmetic(model, config),
    }
    return Identity("prompts", model.name, key)


@dataclass(frozen=True)
class KeptPrompts:
    """`Prompts` from disk."""

    shelf: Shelf

    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        """See `training.data.protocols.Prompts`; on the CPU."""
        rows = self.shelf.rows(keys_of(prompts))
        return Conditioning({name: torch.from_numpy(values).float() for name, values in rows.items()})


def prompts_work(prompts: Iterable[str], model: DiffusionModel, config: TrainConfig) -> Work:
    """The states of distinct `prompts` and of the empty one, whatever share of visits has its prompt dropped: which
    these are is drawn anew at each visit."""
    storage = config.cache.storage
    texts = list(dict.fromkeys(["", *prompts]))
    one = encode_texts(model, [""], storage=storage)
    width = sum(value[0].numel() for value in one.tensors.values()) * np.dtype(storage).itemsize

    def make(places: list[int]) -> Iterator[Part]:
        for start in range(0, len(places), _AT_ONCE):
            part = places[start : start + _AT_ONCE]
            told = encode_texts(model, [texts[place] for place in part], storage=storage)
            yield part, {name: value.numpy().astype(storage) for name, value in told.tensors.items()}

    return Work(
        what="text states of prompts",
        switch="cache.prompts: false",
        shelf=Shelf(prompts_identity(model, config)),
        keys=keys_of(texts),
        make=make,
        row_bytes=np.full(len(texts), width, np.int64),
        piece=512,
    )
