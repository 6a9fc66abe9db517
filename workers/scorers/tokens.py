"""Token ids of prompts, by the rules that each text tower was trained with. Ids of one tokenizer are not those of
another as soon as a prompt has curly quotes, `&amp;` or full-width letters, so a scorer's options name its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.scorers.weights import WeightsError

Ids = NDArray[np.int64]
Tokenize = Callable[[Sequence[str]], Ids]
"""Prompts to int64 ids, (prompts, context), cut and padded to the context."""

_SIGLIP_END, _SIGLIP_PAD = 1, 0


def open_clip_tokens(context: int) -> Tokenize:
    """open_clip's own, which is OpenAI's: ftfy, HTML unescaped twice, lower case, byte pairs; 49407 at the end even
    where a prompt is cut, then zeros."""
    import open_clip

    tokenizer = open_clip.SimpleTokenizer(context_length=context)
    return lambda prompts: tokenizer(list(prompts)).numpy()


def folder_tokens(folder: Path) -> Tokenize:
    """What open_clip takes for a model in its `local-dir:` layout."""
    import open_clip

    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    return lambda prompts: tokenizer(list(prompts)).numpy()


def hf_clip_tokens(vocab: Path, merges: Path, context: int) -> Tokenize:
    """Hugging Face's CLIP tokenizer of these files: NFC and lower case only, so what ftfy would mend stays as it is,
    and `<|endoftext|>` inside a prompt ends it. Cut to the context with 49407 last, padded with 49407."""
    from transformers import CLIPTokenizer

    pairs = [tuple(line.split()) for line in merges.read_text("utf-8").splitlines()[1:] if line.strip()]
    tokenizer = CLIPTokenizer(vocab=json.loads(vocab.read_text("utf-8")), merges=pairs)
    ends = tokenizer.convert_tokens_to_ids(["<|startoftext|>", "<|endoftext|>"])
    if ends != [len(tokenizer) - 2, len(tokenizer) - 1]:  # the tower reads where its largest id stands
        raise WeightsError(
            f"{vocab} is no vocabulary of CLIP: its start and end are {ends} of {len(tokenizer)} tokens",
            code="weights-unreadable",
            hint="fetch it again with `pairsieve scorers pull`",
        )
    return lambda prompts: tokenizer(
        list(prompts), padding="max_length", truncation=True, max_length=context, return_tensors="np"
    )["input_ids"].astype(np.int64)


def siglip2_tokens(file: Path, context: int) -> Tokenize:
    """SigLIP 2's of a Gemma `tokenizer.json`, as open_clip has it: ftfy, HTML unescaped, lower case, punctuation taken
    out; no token before the text, 1 after it even where it is cut, then zeros. The tower reads its last place, so a
    prompt that is padded in another way gets another vector."""
    from open_clip.tokenizer import get_clean_fn
    from tokenizers import Tokenizer

    clean = get_clean_fn("canonicalize")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if (tokenizer.token_to_id("<eos>"), tokenizer.token_to_id("<pad>")) != (_SIGLIP_END, _SIGLIP_PAD):
        raise WeightsError(
            f"{file} is no tokenizer of SigLIP 2: <eos> is not 1 or <pad> not 0",
            code="weights-unreadable",
            hint="fetch it again with `pairsieve scorers pull`",
        )

    def tokenize(prompts: Sequence[str]) -> Ids:
        ids = np.full((len(prompts), context), _SIGLIP_PAD, np.int64)
        texts = [clean(prompt) for prompt in prompts]
        for row, found in zip(ids, tokenizer.encode_batch(texts, add_special_tokens=False), strict=True):
            tokens = [*found.ids[: context - 1], _SIGLIP_END]
            row[: len(tokens)] = tokens
        return ids

    return tokenize
