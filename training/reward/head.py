"""A small preference head on embeddings that stay as they are: made so that it begins as the base's own cosine."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from training.reward.config import RewardConfig
from training.reward.loop import Group, Learner
from training.reward.objective import Numbers, Pairs
from training.reward.protocols import temperature
from workers.scorers.base import Floats
from workers.scorers.trained import HEAD_FILE, head_inputs, head_scores


class Head(torch.nn.Module):
    """The tensors of a head, `mean` and `std` of its inputs among them; see `workers.scorers.trained.head_scores`."""

    def __init__(self, config: RewardConfig, inputs: Tensor, scale: float) -> None:
        """`inputs` are those of the training pairs' images, not standardised; `scale` makes the cosine a logit."""
        super().__init__()
        self.shape = config.head
        mean, std = inputs.mean(0), inputs.std(0, correction=0).clamp_min(1e-4)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        width = len(mean)
        weight = torch.zeros(width)
        if config.head == "bilinear":
            # pᵀ·diag(scale·std)·x = scale·(cos(p, i) − p·mean), and the last part is the same for both images.
            self.matrix = torch.nn.Parameter(torch.diag(scale * std))
        else:
            products = width // (2 if config.head == "linear" else 3)
            weight[-products:] = scale * std[-products:]
        if config.head == "mlp":
            draws = torch.Generator().manual_seed(config.seed)
            self.inner = torch.nn.Parameter(torch.randn(config.hidden, width, generator=draws) / width**0.5)
            self.bias = torch.nn.Parameter(torch.zeros(config.hidden))
            self.outer = torch.nn.Parameter(torch.zeros(config.hidden))
        self.weight = torch.nn.Parameter(weight)

    def forward(self, image: Tensor, prompt: Tensor) -> Tensor:
        """Scores (n,) of embeddings (n, d)."""
        return head_scores({**dict(self.named_parameters()), **dict(self.named_buffers())}, self.shape, image, prompt)


def head_learner(image: Floats, prompt: Floats, training: Pairs, config: RewardConfig) -> Learner:
    """The learner of a new head on embeddings of distinct images (M, d) and prompts (K, d), float32 of length 1. It
    runs on the CPU, where it needs seconds."""
    shown, said = torch.from_numpy(image), torch.from_numpy(prompt)

    def cosine(images: Numbers) -> Tensor:
        return (shown[images] * said[training.prompt]).sum(1)

    gap = (cosine(training.image_0) - cosine(training.image_1)).double().numpy()
    inputs = torch.cat(
        [head_inputs(config.head, shown[side], said[training.prompt]) for side in (training.image_0, training.image_1)]
    )
    head = Head(config, inputs, temperature(gap, training.label))

    def scores(images: Numbers, prompts: Numbers, mirrored: bool) -> Tensor:
        del mirrored  # embeddings are of the pictures as they are
        values: Tensor = head(shown[images], said[prompts])
        return values

    matrices = [parameter for parameter in head.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in head.parameters() if parameter.ndim < 2]
    groups = [Group(vectors, config.rate, 0.0)]
    if matrices:
        groups.append(Group(matrices, config.rate, config.weight_decay))
    return Learner(head, scores, tuple(groups))


def save_head(learner: Learner, folder: Path) -> dict[str, Path]:
    """Write the head's tensors, float32; returns the file by name."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().contiguous() for name, value in learner.module.state_dict().items()}
    save_file(state, folder / HEAD_FILE)
    return {HEAD_FILE: folder / HEAD_FILE}
