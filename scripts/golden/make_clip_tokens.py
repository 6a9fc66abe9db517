"""Writes tests/workers/scorers/golden/hf_clip_tokens.json: what CLIPTokenizerFast of transformers 4.46.3, which the
users of PickScore's README had, makes of hard prompts.

Run from the repository's root in an environment with that version:

    PYTHONPATH=. python scripts/golden/make_clip_tokens.py bpe_simple_vocab_16e6.txt.gz
"""

import gzip
import json
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import CLIPTokenizerFast

from tests.workers.hard_prompts import PROMPTS

OUT = Path(__file__).parents[2] / "tests/workers/scorers/golden/hf_clip_tokens.json"


def main(vocabulary: str) -> None:
    merges = gzip.decompress(Path(vocabulary).read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = [chr(byte) for byte in plain] + [chr(256 + n) for n in range(256 - len(plain))]
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge.split()) for merge in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    with TemporaryDirectory() as folder:
        vocab, merged = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        vocab.write_text(json.dumps({word: place for place, word in enumerate(words)}), "utf-8")
        merged.write_text("#version: 0.2\n" + "\n".join(merges) + "\n", "utf-8")
        tokenizer = CLIPTokenizerFast(vocab_file=str(vocab), merges_file=str(merged))
        ids = tokenizer(PROMPTS, truncation=True, max_length=77)["input_ids"]
    made_by = f"transformers {version('transformers')}, tokenizers {version('tokenizers')}"
    OUT.write_text(json.dumps({"made_by": made_by, "ids": ids}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
