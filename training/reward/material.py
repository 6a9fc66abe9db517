"""What training reads of images and prompts: pictures as a view shows them, and embeddings, kept ones first. Images
that cannot be shown are counted and left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranking.datasets import get_dataset
from ranking.embeddings import EmbeddedKind, embedding_names, read_embeddings
from ranking.errors import PairsieveError
from ranking.images import Found, ImageError, ImageReader, decode_rgb
from ranking.images.fetch import url_fetcher
from ranking.settings import load_settings
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot
from training.progress import Progress
from training.reward.examples import Examples
from workers.scorers.base import Batch, Embed, Floats, ScorerSpec, View
from workers.scorers.runtime import Runtime
from workers.scorers.trained import kept

DECODE = "pictures"
_AT_ONCE = 64


@dataclass
class Shown:
    """Of each image in `uids` a row of `values`, and by status how many images have nothing to show."""

    uids: list[str] = field(default_factory=list)
    values: NDArray[Any] | None = None
    failed: dict[str, int] = field(default_factory=dict)


def load_pictures(store: Store, examples: Examples, view: View, folder: Path, *, progress: Progress) -> Shown:
    """What `view` shows of each distinct image, (M, …), in a file below `folder` that is mapped, so that memory holds
    what is in use. PairsieveError where the disk is full."""
    shown = Shown()
    count = 0
    path = folder / "pictures.raw"
    try:
        with path.open("wb") as file:
            for uids, arrays in _seen(store, examples, examples.images, (view,), shown, progress):
                for uid, (array,) in zip(uids, arrays, strict=True):
                    file.write(np.ascontiguousarray(array).tobytes())
                    shown.uids.append(uid)
                    kind, shape = array.dtype, array.shape
                    count += 1
    except OSError as error:
        raise PairsieveError(
            f"the pictures do not fit below {folder} ({error.strerror})",
            code="disk-full",
            hint="make room, or train on a subset",
        ) from error
    if count:
        shown.values = np.memmap(path, kind, "r", shape=(count, *shape))
    return shown


def load_embeddings(
    store: Store, examples: Examples, base: ScorerSpec, runtime: Runtime, *, progress: Progress
) -> tuple[Shown, Floats]:
    """Embeddings of the distinct images (M, d) and of the distinct prompts (K, d) by the base, rounded to float16 as
    the store keeps them. What the snapshot has is read, the rest is computed."""
    known = _kept(store, examples.snapshot, examples.dataset, base, "image", examples.images)
    missing = [uid for uid in examples.images if uid not in known]
    shown = Shown()
    embed = _embedder(base, runtime)
    if missing:
        for uids, arrays in _seen(store, examples, missing, base.views, shown, progress):
            if uids:
                batch = _batch(base.views, arrays, examples.prompts[:1])
                known.update(zip(uids, kept(embed(batch).image), strict=True))
    shown.uids = [uid for uid in examples.images if uid in known]
    if shown.uids:
        shown.values = np.stack([known[uid] for uid in shown.uids])
    said = _kept(store, examples.snapshot, examples.dataset, base, "prompt", examples.prompt_ids)
    texts = dict(zip(examples.prompt_ids, examples.prompts, strict=True))
    lacking = [key for key in texts if key not in said]
    if lacking:
        blank = [[view(_blank()) for view in base.views]]
        for start in range(0, len(lacking), _AT_ONCE):
            part = lacking[start : start + _AT_ONCE]
            batch = _batch(base.views, blank, [texts[key] for key in part])
            said.update(zip(part, kept(embed(batch).prompt), strict=True))
    return shown, np.stack([said[key] for key in texts])


def _kept(
    store: Store, snapshot: Snapshot, dataset: str, base: ScorerSpec, kind: EmbeddedKind, keys: Sequence[str]
) -> dict[str, Floats]:
    assert base.embedding is not None
    name = base.embedding.name
    if embedding_names(snapshot).get(name) != base.embedding_id:
        return {}
    found = read_embeddings(store, snapshot, dataset, name, kind=kind, keys=keys)
    return dict(zip(found.keys, found.matrix.astype(np.float32), strict=True))


def _embedder(base: ScorerSpec, runtime: Runtime) -> Embed:
    assert base.embedding is not None
    module, function = base.embedding.factory.split(":")
    made: Embed = getattr(import_module(module), function)(base, runtime)
    return made


def _batch(views: Sequence[View], arrays: Sequence[Sequence[NDArray[Any]]], prompts: Sequence[str]) -> Batch:
    """Every image with the first prompt, and every prompt with the first image."""
    items = max(len(arrays), len(prompts))
    places = np.arange(items)
    return Batch(
        prompts=prompts,
        image_of=np.where(places < len(arrays), places, 0),
        prompt_of=np.where(places < len(prompts), places, 0),
        images=len(arrays),
        views={view: [seen[place] for seen in arrays] for place, view in enumerate(views)},
    )


def _seen(
    store: Store, examples: Examples, uids: Sequence[str], views: Sequence[View], shown: Shown, progress: Progress
) -> Iterator[tuple[list[str], list[list[NDArray[Any]]]]]:
    """What the views show of the images, in parts, in the order in which they lie in their sources."""
    reader = ImageReader(store, get_dataset(store, examples.dataset), fetch=url_fetcher(load_settings()))
    found = reader.read_each(reader.places(set(uids)))
    look: Callable[[Found], list[NDArray[Any]] | str] = lambda data: _look(data, views)  # noqa: E731
    done = 0
    progress(DECODE, 0, len(uids))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while part := list(islice(found, _AT_ONCE)):
            names: list[str] = []
            arrays: list[list[NDArray[Any]]] = []
            for (uid, _), seen in zip(part, pool.map(look, [data for _, data in part]), strict=True):
                if isinstance(seen, str):
                    shown.failed[seen] = shown.failed.get(seen, 0) + 1
                else:
                    names.append(uid)
                    arrays.append(seen)
            done += len(part)
            progress(DECODE, done, len(uids))
            yield names, arrays


def _look(data: Found, views: Sequence[View]) -> list[NDArray[Any]] | str:
    try:
        image = decode_rgb(data)
        return [view(image) for view in views]
    except ImageError as error:
        return error.status


def _blank() -> Any:
    from PIL import Image

    return Image.new("RGB", (64, 64))
