"""The toy tokenizer: CLIP's byte-pair encoding in which every word of Toyworld is one token."""

from __future__ import annotations

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from training.toyworld.world import BACKGROUNDS, COLOURS, SHAPES

CONTEXT = 16
QUALITY_WORDS = ("clean", "blurry", "stained", "faded")


def build_tokenizer() -> CLIPTokenizer:
    """Bytes, then the merges of the world's words, then start and end of text: CLIP's own order.

    The end token has the largest id, because open_clip pools the text at the argmax of the ids.
    """
    alphabet = sorted(ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate(alphabet + [f"{s}</w>" for s in alphabet])}
    merges: list[tuple[str, str]] = []
    words = ("a", "an", "on", "background", *COLOURS, *SHAPES, *BACKGROUNDS, *QUALITY_WORDS)
    for word in sorted(words, key=len, reverse=True):  # long words merge first, else "red" would split "green"
        left = word[0]
        for symbol in [*word[1:-1], f"{word[-1]}</w>"][: len(word) - 1]:
            if left + symbol not in vocabulary:
                vocabulary[left + symbol] = len(vocabulary)
                merges.append((left, symbol))
            left += symbol
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT)
