"""The feature networks that Fréchet and kernel distances are taken on: a CLIP's embedding, or Inception-v3 where its
weights lie on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ranking.store.blobs import Store
from training.evaluation.judging import embed, embedding_of
from workers.scorers.registry import Committee, load_committee
from workers.scorers.states import load_state
from workers.scorers.weights import Asset, WeightsError, digest, located, verified, weights_folder

INCEPTION = "inception"
WEIGHTS = Asset(
    "inception-fid/pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
)
_SIDE = 299
_AT_ONCE = 16


@dataclass(frozen=True)
class Seen:
    """Feature vectors (N, d) float32 of N pictures: unit vectors of a CLIP, or the 2048 pooled activations of
    Inception; and their cosines (N,) with their prompts and with a style's text, None where nothing reads texts."""

    vectors: NDArray[np.float32]
    prompt: NDArray[np.float64] | None = None
    text: NDArray[np.float64] | None = None


@dataclass
class Features:
    """A network by name: `id` says which weights, `resize` how it sees a picture."""

    name: str
    id: str
    resize: str
    _committee: Committee | None = None
    _network: nn.Module | None = None

    def see(self, images: Sequence[Image.Image], prompts: Sequence[str], text: str) -> Seen:
        """The pictures, each with its prompt, and `text`, which is asked of all of them unless it is empty."""
        if self._network is not None:
            return Seen(_inception_features(self._network, images))
        assert self._committee is not None
        found = embed(self._committee, images, prompts)
        vectors = found.image.astype(np.float64)
        asked = embed(self._committee, images[:1], [text]).prompt[0] if text else None
        return Seen(
            found.image,
            prompt=np.asarray((vectors * found.prompt).sum(1)),
            text=None if asked is None else np.asarray(vectors @ asked),
        )


def load_features(store: Store, name: str, *, device: str) -> Features:
    """The network of a name: "inception", or a scorer with an embedding. WeightsError where weights are not on this
    machine, UsageError for a scorer without embedding."""
    if name == INCEPTION:
        return Features(name, f"{name}@{_inception_digest()[:12]}", "299×299, bicubic", _network=_inception())
    found = Features(name, embedding_of(store, name), "as the scorer sees pictures")
    found._committee = load_committee([name], device, store=store)
    return found


def _inception_digest() -> str:
    if located(WEIGHTS) is None:
        raise WeightsError(
            f"the weights of Inception are not at {weights_folder() / WEIGHTS.name}",
            code="weights-missing",
            hint=f"put {WEIGHTS.source} there, or name a scorer with an embedding, such as clip-l14",
        )
    return digest(WEIGHTS)


def _inception() -> nn.Module:
    network = inception()
    state = load_state(verified(WEIGHTS))
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(
            f"{WEIGHTS.name} lacks {missing[0]}", code="weights-unsupported", hint=f"take the file of {WEIGHTS.source}"
        )
    network.load_state_dict({key: state.get(key, value) for key, value in wanted.items()})
    return network.eval().requires_grad_(False)


def inception() -> Any:
    """Inception-v3 as TensorFlow's of 2015-12-05, on which FID is defined, differs from torchvision's: 1008 classes,
    average pooling that does not count the padding, and max pooling in the last block. Without its classifier; weights
    are not initialised. Not compared with the original here, as its weights could not be had."""
    from torchvision.models import inception as blocks

    def pooled(block: type[Any], pool: Any) -> type[Any]:
        class Pooled(block):  # type: ignore[misc]
            def _forward(self, x: Tensor) -> list[Tensor]:
                branches: list[Tensor] = super()._forward(x)
                return [*branches[:-1], self.branch_pool(pool(x))]

        return Pooled

    average = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    largest = nn.MaxPool2d(3, 1, 1)
    network = blocks.Inception3(num_classes=1008, aux_logits=False, transform_input=False, init_weights=False)
    a, c, e = (pooled(block, average) for block in (blocks.InceptionA, blocks.InceptionC, blocks.InceptionE))
    network.Mixed_5b, network.Mixed_5c, network.Mixed_5d = a(192, 32), a(256, 64), a(288, 64)
    sizes = {"Mixed_6b": 128, "Mixed_6c": 160, "Mixed_6d": 160, "Mixed_6e": 192}
    for name, size in sizes.items():
        setattr(network, name, c(768, channels_7x7=size))
    network.Mixed_7b, network.Mixed_7c = e(1280), pooled(blocks.InceptionE, largest)(2048)
    network.dropout, network.fc = nn.Identity(), nn.Identity()
    return network


@torch.no_grad()
def _inception_features(network: nn.Module, images: Sequence[Image.Image]) -> NDArray[np.float32]:
    parts = []
    for start in range(0, len(images), _AT_ONCE):
        resized = [
            np.asarray(image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), np.float32)
            for image in images[start : start + _AT_ONCE]
        ]
        parts.append(network(torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2) / 127.5 - 1).numpy())
    return np.concatenate(parts)
