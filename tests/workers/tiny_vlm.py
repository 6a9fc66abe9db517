"""Tiny vision-language models that any version of transformers can make again: their sizes, tokenizers, wording and
pictures. All sizes differ, so that a swapped pair of dimensions does not go unseen."""

import json
import zipfile
from pathlib import Path

import numpy as np
from noise import noise, noisy_pixels
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

QWEN_TEXT = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "mrope_section": (2, 1, 1),
}
QWEN_VISION = {"depth": 2, "embed_dim": 40, "num_heads": 5, "mlp_ratio": 3}
QWEN_SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
T5 = {
    "d_model": 40,
    "d_kv": 12,
    "d_ff": 72,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 5,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "layer_norm_epsilon": 1e-6,
}
CLIP = {
    "hidden_size": 32,
    "intermediate_size": 52,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 42,
    "patch_size": 14,
}
T5_ROWS = 230
"""Rows of the tiny T5's embedding; more than its tokenizer has words, as flan-t5 has 32,128 for 32,100."""

INSTRUCTION = "\nJudge this picture {{0}} to 10.\nIts words are - {text_prompt}\n\n\n"
REQUEST = "\nThe rating: <|Reward|>\n\nOVER\n"
SYSTEM = "Two people talk about pictures."

PROMPTS = [
    "a red fox",
    "two cups, one of them “blue” — naïve café  with   spaces",
    "a {curly} 100% prompt\nof two lines",
]
QWEN_TOKENS_IN_TEXT = "a<|endoftext|> fox <|im_end|> of two <|video_pad|>"
"""A prompt with words that are tokens of Qwen2-VL's own."""
RULES = [("9", "20"), ("A", "20"), ("D", "20"), ("A0", "20"), ("3000", "20"), ("FB01", "66 69")]
"""Code points that the tiny sentencepiece replaces: white space by a space, a ligature by two letters."""
HARD_TEXTS = [
    *("", " ", "   ", "a  fox", " a fox", "a fox ", "a\tfox\nof\r\ntwo", "a\u00a0fox\u3000of", "\ufb01gure"),
    *("unknown: Ω日本😀 a", "a </s> fox", "<pad>", "\x85a\u200bfox\u2028", 'say "a" ', "\n\n", "a" * 40),
]
"""Texts on which ways of writing sentencepiece's rules down for `tokenizers` differ."""
T5_TOKENS_IN_TEXT = "a</s> fox <pad> of two"
"""A prompt with words that are tokens of T5's own."""

SIZES = [(301, 123), (640, 511), (77, 402)]
"""Width and height of the pictures."""


def pictures() -> list[Image.Image]:
    """Noise over ramps, one for each prompt."""
    return [picture(size) for size in SIZES]


def picture(size: tuple[int, int]) -> Image.Image:
    """Noise over a ramp, RGB, of this width and height."""
    width, height = size
    ramp = np.linspace(0, 150, width * height * 3).reshape(height, width, 3)
    return Image.fromarray((ramp + noisy_pixels(f"{size}", (height, width, 3)) * 0.4).astype(np.uint8))


def qwen_tokenizer() -> Tokenizer:
    """A byte-level BPE in Qwen2's form: NFC, its splitting of text, special tokens after the words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "a"), ("e", "d"), ("r", "ed"), ("o", "x"), ("Ġ", "-"), ("i", "n"), ("Ċ", "Ċ"), (":", "Ġ")]
    words = alphabet + ["".join(pair) for pair in merges]
    tokenizer = Tokenizer(models.BPE({word: row for row, word in enumerate(words)}, merges))
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
        r"\s+(?!\S)|\s+"
    )
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, normalized=False, special=True) for word in QWEN_SPECIAL])
    return tokenizer


def tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Noise by name for every parameter; norms' weights lie about 1, as trained ones do."""
    return {name: noise(name, shape) + (1 if _is_norm(name) else 0) for name, shape in shapes.items()}


def _is_norm(name: str) -> bool:
    return name.endswith(".weight") and any(word in name for word in ("norm", "ln_q"))


def write_wheel(path: Path, member: str, source: str) -> Path:
    """A wheel with one module in it."""
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(member, source)
    return path


def write_json(path: Path, value: object) -> Path:
    """A file of JSON."""
    path.write_text(json.dumps(value))
    return path
