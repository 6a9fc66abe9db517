"""Files of tokenizers made without a hub: CLIP's byte pairs as Hugging Face keeps them, letters in Gemma's form."""

import json
from pathlib import Path

import open_clip
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors


def clip_vocabulary(folder: Path) -> tuple[Path, Path]:
    """vocab.json and merges.txt with the byte pairs that open_clip ships."""
    words = open_clip.SimpleTokenizer()
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    named = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocab.write_text(json.dumps({named.get(word, word): place for word, place in words.encoder.items()}), "utf-8")
    merges.write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in words.bpe_ranks), "utf-8")
    return vocab, merges


def gemma_like(folder: Path, *, pad: str = "<pad>") -> Path:
    """A tokenizer.json in Gemma's form, of single letters, with a post-processor as the published one and a padding
    that is wrong."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocab = {word: place for place, word in enumerate([pad, "<eos>", "<bos>", "<unk>", "▁", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.enable_padding(direction="left", pad_id=3, pad_token="<unk>")
    tokenizer.post_processor = processors.TemplateProcessing("$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"
