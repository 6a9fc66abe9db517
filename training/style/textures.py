"""What a picture looks like whatever it shows: Gram matrices of a convolutional network's feature maps (Gatys et al.
2016, "Image Style Transfer Using Convolutional Neural Networks")."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ranking.errors import UnknownNameError
from ranking.names import sha256_hex
from workers.scorers.states import load_state
from workers.scorers.weights import Asset, WeightsError, digest, located, verified, weights_folder

_AT_ONCE = 16


class TextureNetwork(ABC):
    """A network with layers to take Gram matrices of. `id` says which weights and which size of pictures."""

    name: ClassVar[str]
    id: str
    side: int

    @abstractmethod
    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps (N, C, h, w) of each layer for float32 pixels (N, 3, side, side) in [0, 1]."""

    @torch.no_grad()
    def grams(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """The Gram matrices of all layers of each picture as one vector (N, D) float32, so scaled that the squared
        distance of two vectors is Gatys' style loss: the mean over L layers of Σ (G − A)² / (4 C² M²), with C channels,
        M positions and G = F Fᵀ. Off-diagonal elements are there once, times √2."""
        parts = []
        for start in range(0, len(images), _AT_ONCE):
            seen = [_resized(image, self.side) for image in images[start : start + _AT_ONCE]]
            layers = self.maps(torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2))
            parts.append(np.concatenate([_gram(each) for each in layers], axis=1) / np.sqrt(len(layers)))
        return np.concatenate(parts).astype(np.float32)


class RandomTexture(TextureNetwork):
    """Three layers of random filters, for want of learnt ones: such features describe textures well enough to
    synthesise them (Ustyuzhaninov et al. 2017, arXiv 1606.00021). 64, 64 and 64 filters of 7×7, 5×5 and 5×5 with He
    initialisation from a fixed seed, ReLU, and average pooling by 2 between; no other machine has other weights."""

    name = "random"
    side = 64

    def __init__(self) -> None:
        rng = np.random.default_rng(20_160_601)
        shapes = ((64, 3, 7, 7), (64, 64, 5, 5), (64, 64, 5, 5))
        weights = [rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:])) for shape in shapes]
        self._weights = [torch.from_numpy(weight.astype(np.float32)) for weight in weights]
        self.id = f"random@{sha256_hex(b''.join(weight.numpy().tobytes() for weight in self._weights))[:12]}"

    def maps(self, pixels: Tensor) -> list[Tensor]:
        found, now = [], pixels - 0.5
        for number, weight in enumerate(self._weights):
            now = nn.functional.avg_pool2d(now, 2) if number else now
            now = nn.functional.relu(nn.functional.conv2d(now, weight, padding=weight.shape[-1] // 2))
            found.append(now)
        return found


VGG = Asset("vgg19/vgg19-dcbb9e9d.pth", "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth")


class VggTexture(TextureNetwork):
    """relu1_1, relu2_1, relu3_1 and relu4_1 of VGG-19 as torchvision ships its ImageNet weights, with its max pooling
    (Gatys et al. had rescaled weights, average pooling and relu5_1 too, so numbers do not compare with theirs)."""

    name = "vgg19"
    side = 224
    _LAYERS = (1, 6, 11, 20)

    def __init__(self) -> None:
        from torchvision.models import vgg19

        if located(VGG) is None:
            place = weights_folder() / VGG.name
            raise WeightsError(
                f"the weights of VGG-19 are not at {place}",
                code="weights-missing",
                hint=f"put {VGG.source} there, or measure textures by `random`",
            )
        network = vgg19(weights=None).features[: self._LAYERS[-1] + 1]
        state = load_state(verified(VGG))
        features = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}
        network.load_state_dict({key: features[key] for key in network.state_dict()})
        self._network = network.eval().requires_grad_(False)
        for layer in self._network:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        self.id = f"vgg19@{digest(VGG)[:12]}"

    def maps(self, pixels: Tensor) -> list[Tensor]:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        found, now = [], (pixels - mean) / std
        for number, layer in enumerate(self._network):
            now = layer(now)
            if number in self._LAYERS:
                found.append(now)
        return found


def texture_network(name: str) -> TextureNetwork:
    """The network of this name, "random" or "vgg19". UnknownNameError for another, WeightsError where its weights are
    not on this machine."""
    known: dict[str, type[TextureNetwork]] = {"random": RandomTexture, "vgg19": VggTexture}
    if name not in known:
        raise UnknownNameError.among("texture network", name, known)
    return known[name]()


def _resized(image: Image.Image, side: int) -> NDArray[np.float32]:
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image.convert("RGB"), np.float32) / 255


def _gram(maps: Tensor) -> NDArray[np.float64]:
    count, channels = maps.shape[:2]
    flat = maps.reshape(count, channels, -1).double()
    gram = flat @ flat.transpose(1, 2) / (2 * channels * flat.shape[2])
    rows, columns = np.triu_indices(channels)
    scale = np.where(rows == columns, 1.0, np.sqrt(2.0))
    return gram.numpy()[:, rows, columns] * scale
