"""What frozen CLIP says of each image and of each original caption, for methods that compare pairs: taken from the
store where a scorer kept it, else computed, and kept here either way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ranking.names import sha256_hex
from training.caches.filling import Part
from training.caches.places import Identity
from training.caches.seeing import seen
from training.caches.shelf import Shelf, keys_of
from training.caches.work import Work
from training.data.pairs import PairSource
from training.data.rows import PairRows
from training.embedding import Embedder
from workers.scorers.base import Floats, ScorerSpec

VERSION = 1
"""To be raised when a vector is made or named otherwise than before."""

_AT_ONCE = 64


def features_identity(spec: ScorerSpec) -> Identity:
    """The embedding by the fingerprint of its scorer: weights, preprocessing, tokenizer, precision and code."""
    return Identity("features", spec.name, {"version": VERSION, "embedding": spec.embedding_id})


@dataclass(frozen=True)
class KeptFeatures:
    """`Features` from disk."""

    shelf: Shelf
    origin: str

    def __call__(self, prompts: Sequence[str], uids: Sequence[str]) -> Tensor:
        """See `training.data.protocols.Features`. `prompts` are original captions, never dropped ones: else pairs
        would look alike for having lost theirs."""
        images = keys_of(_image_key(self.origin, uid) for uid in uids)
        texts = keys_of(_prompt_key(prompt) for prompt in prompts)
        found = self.shelf.rows(np.concatenate([images, texts]))["vector"].astype(np.float32)
        return torch.from_numpy(found).unflatten(0, (2, len(uids))).transpose(0, 1).contiguous()


def features_work(rows: PairRows, source: PairSource, spec: ScorerSpec, *, device: str) -> Work:
    """The vectors of the rows' images and captions, float16 as the store keeps them, of length 1 within that. The
    scorer is loaded if one has to be computed."""
    assert spec.embedding is not None
    uids = source.ordered(rows.uids.take(pa.array(rows.images))).to_pylist()
    texts = rows.texts.take(pa.array(np.unique(rows.prompt))).to_pylist()
    embedder = lru_cache(maxsize=1)(lambda: Embedder(spec, device=device))

    def make(places: list[int]) -> Iterator[Part]:
        shown = {uids[place]: place for place in places if place < len(uids)}
        said = {texts[place - len(uids)]: place for place in places if place >= len(uids)}
        known = source.embedded(spec, "image", list(shown))
        yield _part(known, shown)
        rest = [uid for uid in shown if uid not in known]
        if rest:
            yield from _computed_images(source, spec, embedder(), {uid: shown[uid] for uid in rest})
        ids = {sha256_hex(text.encode())[:16]: text for text in said}
        told = source.embedded(spec, "prompt", list(ids))
        yield _part({ids[key]: vector for key, vector in told.items()}, said)
        lacking = [text for key, text in ids.items() if key not in told]
        for start in range(0, len(lacking), _AT_ONCE):
            part = lacking[start : start + _AT_ONCE]
            yield _part(dict(zip(part, embedder().prompts(part), strict=True)), said)

    keys = keys_of([*(_image_key(source.origin, uid) for uid in uids), *map(_prompt_key, texts)])
    return Work(
        what="CLIP's vectors of pictures and prompts",
        switch="a method that compares no pairs",
        shelf=Shelf(features_identity(spec)),
        keys=keys,
        make=make,
        row_bytes=np.full(len(keys), 2 * spec.embedding.dim, np.int64),
        piece=4096,
    )


def _computed_images(
    source: PairSource, spec: ScorerSpec, embedder: Embedder, places: dict[str, int]
) -> Iterator[Part]:
    def look(_: str, image: Image.Image, __: bytes) -> list[NDArray[np.generic]]:
        return [view(image) for view in spec.views]

    waiting: dict[str, list[NDArray[np.generic]]] = {}
    for uid, views in seen(source.pictures, list(places), look):
        waiting[uid] = views
        if len(waiting) == _AT_ONCE:
            yield _part(dict(zip(waiting, embedder.images(list(waiting.values())), strict=True)), places)
            waiting = {}
    if waiting:
        yield _part(dict(zip(waiting, embedder.images(list(waiting.values())), strict=True)), places)


def _part(vectors: dict[str, Floats], places: dict[str, int]) -> Part:
    if not vectors:
        return [], {}
    return [places[name] for name in vectors], {"vector": np.stack(list(vectors.values())).astype(np.float16)}


def _image_key(origin: str, uid: str) -> str:
    return f"image {origin} {uid}"


def _prompt_key(prompt: str) -> str:
    return f"prompt {prompt}"
