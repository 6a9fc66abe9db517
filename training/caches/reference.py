"""The reference's errors for K fixed draws a pair, on disk: two numbers a draw, in place of a second network's passes.
Neither the method nor its β, neither the learning rate nor how long is trained decides what they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.caches.filling import Part
from training.caches.latents import latents_identity
from training.caches.places import Identity
from training.caches.prompts import prompts_identity
from training.caches.shelf import Keys, Shelf, keys_of
from training.caches.work import Work
from training.compiling import compile_blocks
from training.config import TrainConfig
from training.data import draws
from training.data.encoding import arithmetic
from training.data.material import Material
from training.data.order import Visit
from training.data.uids import Places
from training.models.base import DiffusionModel
from training.passes import errors_of

VERSION = 1
"""To be raised when an error is measured or named otherwise than before."""

_ROW_BYTES = 8
_PAIRS_AT_ONCE = 1 << 14


def reference_identity(model: DiffusionModel, config: TrainConfig) -> Identity:
    """All that the reference's errors depend on, but for the pair and the number of its draw, which name the row.

    What the passes compute in is part of it: the policy's errors are of the same kind, and β times a difference
    between kinds would be taken for preference. So is the sort of device, whose kernels sum in their own order. How
    many draws there are is not: the first K are the same for any K.
    """
    data = config.data
    key = {
        "version": VERSION,
        "denoiser": model.fingerprint,
        "times": model.noise_levels,
        "latents": latents_identity(model, config).name,
        "prompts": prompts_identity(model, config).name,
        "seed": config.seed,
        "draws": draws.VERSION,
        "prompt_dropout": data.prompt_dropout,
        "empty_prompt": model.stands_for_no_prompt(data.empty_prompt),
        "flip": data.flip,
        "crop": data.crop,
        "device": model.device.type,
        "precision": config.precision,
        "arithmetic": arithmetic(model, config),
        "compile": config.compile,
        # torch chooses kernels by what is trained, and in half precision they round differently.
        "trained": "adapters" if config.lora is not None and config.precision != "fp32" else "weights",
    }
    return Identity("reference", model.name, key)


@dataclass(frozen=True)
class KeptReferences:
    """`References` in memory: `errors` float32 (N, K, 2) of each pair's winner and loser."""

    places: Places
    errors: Tensor

    def __call__(self, pair_ids: Sequence[str], numbers: Sequence[int]) -> Tensor:
        """See `training.data.protocols.References`."""
        found = self.errors[torch.from_numpy(self.places.of(pair_ids)), torch.tensor(numbers)]
        return found.T.reshape(-1)


@dataclass(frozen=True)
class ReferenceWork:
    """The errors of a run's pairs: `work`, and the pairs whose two images are stored the other way round. Rows are
    named by a pair's images in the order of their uids, so that a run on other labels finds them too."""

    work: Work
    material: Material
    swapped: NDArray[np.bool_]

    def load(self) -> KeptReferences:
        """What is there, when all is."""
        pairs = len(self.material)
        found = self.work.shelf.rows(self.work.keys)["errors"].reshape(-1, pairs, 2)
        found[:, self.swapped] = found[:, self.swapped, ::-1]
        errors = torch.from_numpy(np.ascontiguousarray(found.transpose(1, 0, 2)))
        return KeptReferences(Places(self.material.rows.pair_ids), errors)


def reference_work(material: Material, *, origin: str) -> ReferenceWork:
    """What the reference's errors are made of and how: `material.model.denoiser` as it is now is the reference, so this
    comes before the first step. Draw by draw over all pairs, as epochs need them."""
    config, model = material.config, material.model
    count = config.cache.reference_draws
    if count is None:
        raise ValueError("the config fixes no draws")
    bases, swapped = _names(material, origin)
    keys = np.concatenate([_numbered(bases, number) for number in range(count)])
    bucket = material.buckets.of
    size = config.batch

    def make(places: list[int]) -> Iterator[Part]:
        visits = np.array(places) % len(bases)
        for at in np.unique(bucket[visits]):
            chosen = np.array(places)[bucket[visits] == at].tolist()
            for start in range(0, len(chosen), size):
                part = chosen[start : start + size]
                # As many as in training, always: kernels sum in another order for other batch sizes.
                filled = part + part[:1] * (size - len(part))
                batch = material.batch([Visit(place % len(bases), place // len(bases)) for place in filled])
                with _as_the_policy(model.denoiser, config):
                    errors = errors_of(model, model.denoiser, batch, precision=config.precision)
                pairs = errors.reshape(2, size).T[: len(part)].cpu().numpy()
                turned = swapped[np.array(part) % len(bases)]
                yield part, {"errors": np.where(turned[:, None], pairs[:, ::-1], pairs)}

    work = Work(
        what="errors of the reference",
        switch="cache.reference_draws: null",
        shelf=Shelf(reference_identity(model, config)),
        keys=keys,
        make=make,
        row_bytes=np.full(len(keys), _ROW_BYTES, np.int64),
        piece=16 * size,
    )
    return ReferenceWork(work, material, swapped)


@contextmanager
def _as_the_policy(denoiser: nn.Module, config: TrainConfig) -> Iterator[None]:
    """The kernels that the policy will have: compiled where it will be, and its weights, unless adapters are trained,
    say that they require a gradient (see `make_reference`)."""
    if config.compile:
        compile_blocks(denoiser)
    asked = {name: each.requires_grad for name, each in denoiser.named_parameters()}
    denoiser.eval().requires_grad_(config.lora is None)
    try:
        yield
    finally:
        for name, each in denoiser.named_parameters():
            each.requires_grad_(asked[name])


def _names(material: Material, origin: str) -> tuple[Keys, NDArray[np.bool_]]:
    """The key of each pair, with its shape, and whether its winner's uid comes after its loser's."""
    rows, sizes = material.rows, material.buckets.sizes
    names: list[str] = []
    swapped = np.zeros(len(rows), bool)
    for start in range(0, len(rows), _PAIRS_AT_ONCE):
        places = range(start, min(start + _PAIRS_AT_ONCE, len(rows)))
        uids = rows.images_of(places)
        for at, pair_id, prompt, winner, loser in zip(
            places,
            rows.ids_of(places),
            rows.prompts_of(places),
            uids[: len(places)],
            uids[len(places) :],
            strict=True,
        ):
            first, second = sorted((winner, loser))
            swapped[at] = first != winner
            height, width = sizes[material.buckets.of[at]]
            names.append(f"{origin} {pair_id} {first} {second} {height}x{width} {prompt}")
    return keys_of(names), swapped


def _numbered(bases: Keys, number: int) -> Keys:
    """The keys of a draw of pairs: 12 bytes of the pair and 4 of the number."""
    keys = np.frombuffer(bases.tobytes(), np.uint8).reshape(-1, 16).copy()
    keys[:, 12:] = np.frombuffer((number + 1).to_bytes(4, "big"), np.uint8)
    return np.frombuffer(keys.tobytes(), "S16")
