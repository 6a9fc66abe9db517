"""Material without pictures: pairs whose latents are drawn from their names."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import normalize

from training.config import TrainConfig
from training.data.buckets import Buckets, square
from training.data.framing import Framing
from training.data.material import Material
from training.data.rows import PairRows
from training.models.base import DiffusionModel

PROMPTS = ["a red star", "a blue circle", "two green squares", "a large star", "a small circle"]


def made_pairs(model: DiffusionModel, config: TrainConfig, *, count: int = 16, **more: Any) -> Material:
    """`count` pairs of five prompts with labels from 0.6 to 1 and weights around 1. `tall` of them are of another
    shape than the rest; what else is named goes to Material."""
    tall = more.pop("tall", 0)
    places = np.arange(count, dtype=np.int32)
    rows = PairRows(
        ref="made@1",
        pair_ids=pa.array([f"p{i}" for i in range(count)]),
        texts=pa.array(PROMPTS),
        prompt=places % len(PROMPTS),
        uids=pa.array([f"{side}{i}" for side in ("winner", "loser") for i in range(count)]),
        winner=places,
        loser=places + count,
        preference=torch.linspace(0.6, 1.0, count),
        weight=torch.ones(count),
    )
    side = model.resolution
    buckets = square(count, side)
    if tall:
        buckets = Buckets(((side, side), (side * 2, side // 2)), (places < tall).astype(np.int16))

    def latents(uids: Sequence[str], framings: Sequence[Framing]) -> tuple[Tensor, Tensor]:
        made = [_latent(model, uid, framing) for uid, framing in zip(uids, framings, strict=True)]
        told = torch.tensor([(*framing.size, 0, 0, *framing.size) for framing in framings])
        return torch.stack(made), told

    weight = torch.linspace(0.5, 1.5, count)
    given = {"weight": weight, "latents": latents, "prompts": model.encode_prompts} | more
    return Material(model=model, config=config, rows=rows, buckets=buckets, **given)


def features(prompts: Sequence[str], uids: Sequence[str]) -> Tensor:
    """Unit vectors (N, 2, 3) of images and prompts, from their names."""
    image = torch.tensor([[len(uid), 1.0 + int(uid[-1]), 2.0] for uid in uids])
    text = torch.tensor([[1.0, PROMPTS.index(prompt), 1.0] for prompt in prompts])
    return normalize(torch.stack([image, text], dim=1), dim=-1)


def _latent(model: DiffusionModel, uid: str, framing: Framing) -> Tensor:
    height, width = (each // model.stride for each in framing.size)
    generator = torch.Generator().manual_seed(zlib.crc32(uid.encode()))
    return torch.randn((model.latent_channels, height, width), generator=generator)
