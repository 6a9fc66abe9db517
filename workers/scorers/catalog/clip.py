"""The CLIP family: OpenAI's and LAION's CLIP, SigLIP 2, LAION's aesthetic predictors, PickScore and HPSv2."""

from __future__ import annotations

from workers.scorers.base import Cost, EmbeddingSpec, Options, ScorerSpec
from workers.scorers.views import crop, float_crop, hf_crop, squash
from workers.scorers.weights import Asset

_CLIP_PIXELS = (("mean", (0.48145466, 0.4578275, 0.40821073)), ("std", (0.26862954, 0.26130258, 0.27577711)))
_SIGLIP_PIXELS = (("mean", (0.5, 0.5, 0.5)), ("std", (0.5, 0.5, 0.5)))


def _tower(architecture: str, weights: str, layout: str, tokenizer: str) -> Options:
    return (("architecture", architecture), ("weights", weights), ("layout", layout), ("tokenizer", tokenizer))


_L14 = (
    *_tower("ViT-L-14-quickgelu", "clip-l14/open_clip_model.safetensors", "open_clip", "open_clip"),
    *_CLIP_PIXELS,
)
_L14_FILE = Asset(
    "clip-l14/open_clip_model.safetensors",
    source="hf://timm/vit_large_patch14_clip_224.openai@18d0535469bb561bf468d76c1d73aa35156c922b/"
    "open_clip_model.safetensors",
    sha256="9ce2e8a8ebfff3793d7d375ad6d3c35cb9aebf3de7ace0fc7308accab7cd207e",
)
_L14_PARAMETERS, _L14_IMAGE, _L14_TEXT = 427_616_513, 162.0, 13.3
_H14_COST = Cost(parameters=986_109_441, image_gflops=334.6, text_gflops=47.1)

_H14_REPOSITORY = "hf://laion/CLIP-ViT-H-14-laion2B-s32B-b79K@1c2b8495b28150b8a4922ee1c8edee224c284c0c"
_HPS_REPOSITORY = "hf://xswu/HPSv2@697403c78157020a1ae59d23f111aa58ced35b0a"
_SIGLIP2_REPOSITORY = "hf://timm/ViT-SO400M-16-SigLIP2-384@fec784dabb3081a5f101fc74eefaf9d1ed08237b"

_V1_HEAD = "sa_0_4_vit_l_14_linear.pth"
_V2_HEAD = "sac+logos+ava1-l14-linearMSE.pth"


def _hps(version: str, file: str, *, sha256: str | None = None, size: int | None = None) -> ScorerSpec:
    return ScorerSpec(
        name=f"hpsv{version}",
        summary=f"HPSv{version}: cosine of a CLIP ViT-H/14 fine-tuned on human choices (HPD), without its logit scale",
        factory="workers.scorers.clip:clip_score",
        views=(float_crop(224),),
        assets=(Asset(f"hpsv{version}/{file}", source=f"{_HPS_REPOSITORY}/{file}", sha256=sha256, bytes=size),),
        options=(*_tower("ViT-H-14", file, "state_dict", "open_clip"), *_CLIP_PIXELS),
        weights_licence="Apache-2.0",
        range="-1 to 1, mostly 0.1 to 0.35; compare within one prompt only",
        cost=_H14_COST,
    )


SPECS = (
    ScorerSpec(
        name="clip-l14",
        summary="CLIP score of OpenAI's ViT-L/14: cosine of image and prompt",
        factory="workers.scorers.clip:clip_score",
        views=(crop(224),),
        assets=(_L14_FILE,),
        options=_L14,
        weights_licence="MIT",
        range="-1 to 1, mostly 0.1 to 0.4",
        cost=Cost(parameters=_L14_PARAMETERS, image_gflops=_L14_IMAGE, text_gflops=_L14_TEXT),
        embedding=EmbeddingSpec("clip-l14", "workers.scorers.clip:embeddings", 768),
    ),
    ScorerSpec(
        name="clip-h14",
        summary="CLIP score of LAION's ViT-H/14 (laion2b_s32b_b79k): cosine of image and prompt",
        factory="workers.scorers.clip:clip_score",
        views=(crop(224),),
        assets=(
            Asset(
                "clip-h14/open_clip_model.safetensors",
                source=f"{_H14_REPOSITORY}/open_clip_model.safetensors",
                sha256="0084e75319a50ad85ef45377bad5bc38f2f58824459eb690048d51c9f8863be5",
                bytes=3_944_517_836,
            ),
        ),
        options=(*_tower("ViT-H-14", "open_clip_model.safetensors", "open_clip", "open_clip"), *_CLIP_PIXELS),
        weights_licence="MIT",
        range="-1 to 1, mostly 0.1 to 0.4",
        cost=_H14_COST,
    ),
    ScorerSpec(
        name="siglip2-so400m",
        summary="SigLIP 2 so400m at 384 pixels: cosine of image and prompt",
        factory="workers.scorers.clip:clip_score",
        views=(squash(384),),
        assets=(
            Asset(
                "siglip2-so400m/open_clip_model.safetensors",
                source=f"{_SIGLIP2_REPOSITORY}/open_clip_model.safetensors",
                sha256="8ceec00df3c462d155d172933339cd9178a86bfab72f4458dbe84bd54f5ad026",
            ),
            Asset("siglip2-so400m/tokenizer.json", source=f"{_SIGLIP2_REPOSITORY}/tokenizer.json"),
        ),
        options=(
            *_tower("ViT-SO400M-16-SigLIP2-384", "open_clip_model.safetensors", "open_clip", "siglip2"),
            *_SIGLIP_PIXELS,
        ),
        weights_licence="Apache-2.0",
        range="-1 to 1, mostly below 0.2",
        cost=Cost(parameters=1_136_039_602, image_gflops=519.3, text_gflops=53.1),
    ),
    ScorerSpec(
        name="aesthetic-v1",
        summary="LAION's aesthetic predictor v1: one linear layer on the ViT-L/14 embedding; the prompt is not read",
        factory="workers.scorers.clip:aesthetic",
        views=(crop(224),),
        assets=(
            _L14_FILE,
            Asset(
                f"aesthetic-v1/{_V1_HEAD}",
                source="https://raw.githubusercontent.com/LAION-AI/aesthetic-predictor/"
                f"6d122adad522ab246644d9dc1c6d7a3810ee255f/{_V1_HEAD}",
                sha256="2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
                bytes=4_071,
            ),
        ),
        options=(*_L14, ("head", _V1_HEAD)),
        weights_licence="MIT",
        range="about 1 to 10",
        cost=Cost(parameters=_L14_PARAMETERS + 769, image_gflops=_L14_IMAGE),
    ),
    ScorerSpec(
        name="aesthetic-v2",
        summary="LAION's aesthetic predictor v2 (sac+logos+ava1, linear): an affine map of the ViT-L/14 embedding; the "
        "prompt is not read",
        factory="workers.scorers.clip:aesthetic",
        views=(crop(224),),
        assets=(
            _L14_FILE,
            Asset(
                f"aesthetic-v2/{_V2_HEAD}",
                source="https://raw.githubusercontent.com/christophschuhmann/improved-aesthetic-predictor/"
                "6934dd81792f086e613a121dbce43082cb8be85e/" + _V2_HEAD.replace("+", "%2B"),
                sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
                bytes=3_714_759,
            ),
        ),
        options=(*_L14, ("head", _V2_HEAD)),
        weights_licence="Apache-2.0",
        range="about 1 to 10",
        cost=Cost(parameters=_L14_PARAMETERS + 927_969, image_gflops=_L14_IMAGE),
    ),
    ScorerSpec(
        name="pickscore-v1",
        summary="PickScore v1: exp(logit scale) · cosine of a CLIP ViT-H/14 fine-tuned on Pick-a-Pic",
        factory="workers.scorers.clip:preference",
        views=(hf_crop(224),),
        assets=(
            Asset(
                "pickscore-v1/model.safetensors",
                source="hf://yuvalkirstain/PickScore_v1@a4e4367c6dfa7288a00c550414478f865b875800/model.safetensors",
            ),
            *(
                Asset(f"pickscore-v1/{file}", source=f"{_H14_REPOSITORY}/{file}")
                for file in ("vocab.json", "merges.txt")
            ),
        ),
        options=(*_tower("ViT-H-14", "model.safetensors", "hf_clip", "hf_clip"), *_CLIP_PIXELS),
        weights_licence="MIT",
        range="open, mostly 16 to 26",
        cost=_H14_COST,
    ),
    _hps("2", "HPS_v2_compressed.pt"),
    _hps(
        "2.1",
        "HPS_v2.1_compressed.pt",
        sha256="c57a38fb4a2f7e7c15bf00da2ea377cdf165448b4dd1052a484c215a998c9837",
        size=1_972_490_005,
    ),
)
