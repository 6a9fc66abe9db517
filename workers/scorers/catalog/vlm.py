"""Scorers on vision-language models: HPSv3 on Qwen2-VL-7B, VQAScore on CLIP-FlanT5. They read a picture and a prompt
together, so their cost is an item's: it is all told as the image's."""

from __future__ import annotations

from workers.scorers.base import Cost, Options, ScorerSpec
from workers.scorers.views import padded, tiled
from workers.scorers.weights import Asset

_QWEN = "hf://Qwen/Qwen2-VL-7B-Instruct@eed13092ef92e448dd6875b2a00151bd3f7db0ac"

_T2V_METRICS = Asset(
    "vqascore/t2v_metrics-3.0-py3-none-any.whl",
    "pypi:t2v_metrics==3.0",
    sha256="448398dc130d6ab99cc1e5638e51e7eff57bdf7a771d996be969e6022e461c1b",
    bytes=1_302_971,
)

_QWEN2_VL_7B: Options = (
    (
        "text",
        (
            ("hidden_size", 3584),
            ("intermediate_size", 18944),
            ("num_hidden_layers", 28),
            ("num_attention_heads", 28),
            ("num_key_value_heads", 4),
            ("rms_norm_eps", 1e-6),
            ("rope_theta", 1_000_000.0),
        ),
    ),
    ("mrope_section", (16, 24, 24)),
    (
        "vision",
        (("depth", 32), ("embed_dim", 1280), ("num_heads", 16), ("mlp_ratio", 4), ("hidden_act", "quick_gelu")),
    ),
)

_CLIP_L_336 = (
    "vision",
    (
        ("hidden_size", 1024),
        ("intermediate_size", 4096),
        ("num_hidden_layers", 24),
        ("num_attention_heads", 16),
        ("image_size", 336),
        ("patch_size", 14),
    ),
)

_ASKED: Options = (
    # The question of Lin et al. 2024 (equation 1), as t2v_metrics 3.0 writes it.
    ("question", 'Does this figure show "{}"? Please answer yes or no.'),
    ("answer", "Yes"),
)


def _flan_t5(*, d_model: int, d_ff: int, num_heads: int) -> Options:
    shared = {"d_kv": 64, "num_layers": 24, "num_decoder_layers": 24, "layer_norm_epsilon": 1e-6}
    buckets = {"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128}
    sizes = {"d_model": d_model, "d_ff": d_ff, "num_heads": num_heads, **shared, **buckets}
    return (("text", tuple(sizes.items())), ("tokens", 32_100), _CLIP_L_336, *_ASKED)


def _vqascore(name: str, *, tokenizer: str, weights: tuple[Asset, ...], options: Options, cost: Cost) -> ScorerSpec:
    return ScorerSpec(
        name=name,
        summary='probability that a vision-language model answers "Yes" to whether the image shows the prompt '
        "(Lin et al. 2024)",
        factory="workers.scorers.vqascore:vqascore",
        views=(padded(336),),
        assets=(
            *weights,
            Asset(f"{name}/tokenizer.json", f"hf://{tokenizer}/tokenizer.json"),
            _T2V_METRICS,
        ),
        options=options,
        precision="bfloat16",
        precisions=("fp32", "bf16"),  # T5's feed-forward layers overflow float16
        licence="Apache-2.0",
        weights_licence="Apache-2.0",
        range="0 to 1",
        cost=cost,
    )


SPECS = (
    ScorerSpec(
        name="hpsv3",
        summary="human preference learnt from 1.17 M comparisons on Qwen2-VL-7B (Ma et al. 2025)",
        factory="workers.scorers.hpsv3:hpsv3",
        views=(tiled(28, 256 * 28 * 28),),
        assets=(
            Asset(
                "hpsv3/HPSv3.safetensors",
                "hf://MizzenAI/HPSv3@4f81e3e09edd82fe3c5f636444c721b592a735ca/HPSv3.safetensors",
            ),
            Asset("hpsv3/tokenizer.json", f"{_QWEN}/tokenizer.json"),
            Asset(
                "hpsv3/hpsv3-1.0.0-py3-none-any.whl",
                "pypi:hpsv3==1.0.0",
                sha256="1a1b3ed1f538315ddf0e90c55b9f5c8ab3248d772cd713c11f7dfe35bf867ab3",
                bytes=68_966,
            ),
        ),
        options=(
            *_QWEN2_VL_7B,
            ("tokens", 151_658),
            ("head", (1024, 16)),
            (
                "chat",  # Qwen2-VL's form of a conversation, up to its picture
                "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>",
            ),
        ),
        precision="bfloat16",
        precisions=("fp32", "bf16"),  # Qwen2-VL is published and was trained further in bfloat16
        licence="MIT",
        weights_licence="MIT; base model Apache-2.0",
        range="open, about -2 to 12",
        cost=Cost(parameters=7_748_610_610, image_gflops=11_900.0),  # 256 tokens of the picture, about 530 of text
    ),
    _vqascore(
        "vqascore",
        tokenizer="google/flan-t5-xl@7d6315df2c2fb742f0f5b556879d730926ca9001",
        weights=(
            Asset(
                "vqascore/pytorch_model.bin",
                "hf://zhiqiulin/clip-flant5-xl@3b4a6b1b618f4e286f5353b5b5147a3ae7d9ec55/pytorch_model.bin",
            ),
        ),
        options=_flan_t5(d_model=2048, d_ff=5120, num_heads=32),
        cost=Cost(parameters=3_146_847_232, image_gflops=2_230.0),
    ),
    _vqascore(
        "vqascore-xxl",
        tokenizer="google/flan-t5-xxl@ae7c9136adc7555eeccc78cdd960dfd60fb346ce",
        weights=tuple(
            Asset(f"vqascore-xxl/{part}", f"hf://zhiqiulin/clip-flant5-xxl@main/{part}")
            for part in (f"pytorch_model-0000{number}-of-00003.bin" for number in (1, 2, 3))
        ),
        options=_flan_t5(d_model=4096, d_ff=10_240, num_heads=64),
        cost=Cost(parameters=11_446_991_872, image_gflops=7_640.0),
    ),
)
