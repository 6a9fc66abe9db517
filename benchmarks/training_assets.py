"""What the benchmark of training trains: Stable Diffusion 1.5 in its full shape or with a quarter of its channels, with
random weights, and pairs of pictures in Pick-a-Pic's schema."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.suite import photograph
from ranking.subsets.export.tables import PICKAPIC

FULL = 1


def write_model(folder: Path, *, shrink: int = 4, seed: int = 0) -> Path:
    """A diffusers pipeline in SD 1.5's shape, the channels of each part divided by `shrink` (FULL: the real size): so
    UNet, VAE and text encoder keep their shares of the work."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    tokenizer = byte_tokenizer()
    width = 768 // shrink
    text = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=77,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    channels = tuple(each // shrink for each in (320, 640, 1280, 1280))
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=channels,
        cross_attention_dim=width,
        norm_num_groups=min(32, channels[0] // 4),
    )
    vae = AutoencoderKL(
        block_out_channels=tuple(each // shrink for each in (128, 256, 512, 512)),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
        norm_num_groups=min(32, 128 // shrink),
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        StableDiffusionPipeline(
            vae=vae,
            text_encoder=CLIPTextModel(text),
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder)
    return folder


def write_pictures(folder: Path, *, pairs: int, side: int, seed: int = 0) -> Path:
    """One Parquet file of `pairs` pairs, each with a prompt of its own and two JPEG pictures of `side` pixels; image 0
    is always preferred."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number in range(pairs):
        row: dict[str, Any] = {field.name: None for field in PICKAPIC}
        row |= {
            "caption": f"number {number}: a lighthouse in a storm, oil on canvas, dramatic light, highly detailed",
            "label_0": 1.0,
            "label_1": 0.0,
            "has_label": True,
            "are_different": True,
            "ranking_id": number,
            "user_id": number % 7,
            "image_0_uid": f"{number:08d}-0",
            "image_1_uid": f"{number:08d}-1",
            "jpg_0": photograph(side, seed=seed + 2 * number),
            "jpg_1": photograph(side, seed=seed + 2 * number + 1),
        }
        rows.append(row | {"best_image_uid": row["image_0_uid"]})
    pq.write_table(pa.Table.from_pylist(rows, schema=PICKAPIC), folder / "train-00000-of-00001.parquet")
    return folder


def byte_tokenizer() -> Any:
    """CLIP's tokenizer without merges: a token for each byte, 77 at most."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    return CLIPTokenizer(vocab={word: place for place, word in enumerate(vocabulary)}, merges=[], model_max_length=77)
