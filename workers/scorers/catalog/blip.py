"""Scorers on BLIP with a ViT-L/16: ImageReward, and BLIP's own contrastive score."""

from __future__ import annotations

from workers.scorers.base import Cost, Options, ScorerSpec
from workers.scorers.views import crop
from workers.scorers.weights import Asset

_LARGE: Options = (
    ("image_size", 224),
    ("patch_size", 16),
    ("vision_width", 1024),
    ("vision_layers", 24),
    ("vision_heads", 16),
    ("text_width", 768),
    ("text_layers", 12),
    ("text_heads", 12),
    ("text_hidden", 3072),
    ("vocabulary", 30524),
    ("positions", 512),
)

_VOCABULARY = "hf://google-bert/bert-base-uncased@86b5e0934494bd15c9632b12f734a8a67f723594/vocab.txt"
_VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"

SPECS = (
    ScorerSpec(
        name="imagereward-v1",
        summary="human preference learnt from 137 k comparisons (Xu et al. 2023)",
        factory="workers.scorers.image_reward:image_reward",
        views=(crop(224),),
        assets=(
            Asset(
                "imagereward-v1/ImageReward.pt",
                "hf://zai-org/ImageReward@5736be03b2652728fb87788c9797b0570450ab72/ImageReward.pt",
            ),
            Asset("imagereward-v1/vocab.txt", _VOCABULARY, sha256=_VOCABULARY_SHA256, bytes=231_508),
        ),
        options=_LARGE,
        weights_licence="Apache-2.0",
        range="about N(0, 1)",
        cost=Cost(parameters=446_206_689, image_gflops=123.2, text_gflops=14.7),
    ),
    ScorerSpec(
        name="blip-itc",
        summary="cosine of BLIP's contrastive embeddings of image and prompt (Li et al. 2022)",
        factory="workers.scorers.blip_itc:blip_similarity",
        views=(crop(224),),
        assets=(
            Asset(
                "blip-itc/model_large.pth",
                "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/model_large.pth",
            ),
            Asset("blip-itc/vocab.txt", _VOCABULARY, sha256=_VOCABULARY_SHA256, bytes=231_508),
        ),
        options=_LARGE,
        weights_licence="BSD-3-Clause",
        range="-1 to 1",
        cost=Cost(parameters=412_652_544, image_gflops=123.2, text_gflops=6.0),
    ),
)
