"""Prompts that a list of words calls unsafe. A list of words sees words, not what is meant: it is a first sieve, no
judgement."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from ranking.errors import UsageError
from ranking.features.columns import ColumnFamily, ColumnSet
from ranking.features.fields import Field
from ranking.features.prompts import per_prompt
from ranking.names import NAME, canonical_json
from ranking.settings import load_settings

if TYPE_CHECKING:
    from ranking.features.pairs import PairTable

VERSION: Final = 1
MOST_WORDS: Final = 20_000


@dataclass(frozen=True)
class WordList:
    """Words and phrases by category, folded as prompts are, and the SHA-256 of them all."""

    categories: Mapping[str, tuple[str, ...]]
    sha256: str


def folded(texts: pa.Array) -> pa.Array:
    """Texts as they are compared: compatibility forms taken apart (NFKD), without accents and other marks, lower case,
    anything but letters and digits one space, and one at both ends."""
    bare = pc.replace_substring_regex(pc.utf8_normalize(texts, "NFKD"), r"\pM+", "")
    words = pc.replace_substring_regex(pc.utf8_lower(bare), r"[^\pL\pN]+", " ")
    return pc.binary_join_element_wise("", pc.utf8_trim_whitespace(words), "", " ")


def flags(prompts: pa.Array, words: WordList) -> dict[str, pa.Array]:
    """For each category a boolean array: whether a prompt (string array) has a word or phrase of it, as whole words."""
    texts = folded(prompts)
    found = {}
    for category, listed in words.categories.items():
        # Folded words are letters, digits and spaces: nothing in them means anything to a pattern.
        pattern = f" (?:{'|'.join(sorted(listed, key=lambda word: (-len(word), word)))}) "
        found[category] = pc.match_substring_regex(texts, pattern)
    return found


def parse_words(text: str, *, where: str) -> WordList:
    """The list in a YAML map of category to words; UsageError in one line that says what does not fit."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _bad(f"{where} is no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(value, dict) or not value:
        raise _bad(f"{where} is no map of category to words")
    categories: dict[str, tuple[str, ...]] = {}
    for category, listed in value.items():
        if not isinstance(category, str) or not NAME.fullmatch(category):
            raise _bad(f"{where} has a category {category!r}, which may name no field")
        if not isinstance(listed, list) or not listed or not all(isinstance(word, str) for word in listed):
            raise _bad(f"{where}: {category} is no list of words", hint="quote words such as no, on and 1")
        kept = {word.strip() for word in folded(pa.array(listed, pa.string())).to_pylist()}
        if "" in kept:
            raise _bad(f"{where}: {category} has a word without letters or digits")
        categories[category] = tuple(sorted(kept))
    if sum(map(len, categories.values())) > MOST_WORDS:
        raise _bad(f"{where} has more than {MOST_WORDS:,} words")
    return WordList(categories, hashlib.sha256(canonical_json(categories)).hexdigest())


def word_list() -> WordList:
    """The list of this process: the one that PAIRSIEVE_SAFETY_WORDS names, else ours. UsageError if it cannot be
    read."""
    path = load_settings().safety_words
    if not path:
        return _ours()
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _bad(f"PAIRSIEVE_SAFETY_WORDS names {path}, which cannot be read") from error
    return parse_words(text, where=path)


@lru_cache(maxsize=1)
def _ours() -> WordList:
    text = files("ranking.features").joinpath("words/unsafe.yaml").read_text(encoding="utf-8")
    return parse_words(text, where="our list")


def _bad(what: str, *, hint: str = "see docs/text-features.md for its form") -> UsageError:
    return UsageError(what, code="bad-setting", hint=hint)


def _fields(words: WordList) -> tuple[Field, ...]:
    return (
        Field("prompt_unsafe", "boolean", "whether the prompt has a word of the list of unsafe ones", "prompt"),
        Field(
            "prompt_flags",
            "text",
            "the categories of the list that it has a word of, with commas between; null without any",
            "prompt",
        ),
        *(
            Field(
                f"prompt_unsafe.{category}",
                "boolean",
                f"whether it has a word of the category {category.replace('_', ' ')}",
                "prompt",
            )
            for category in words.categories
        ),
    )


def _sets(_scorers: Sequence[str]) -> tuple[ColumnSet, ...]:
    words = word_list()
    fields = _fields(words)
    schema = pa.schema([(field.name, pa.string() if field.kind == "text" else pa.bool_()) for field in fields])

    def build(table: "PairTable") -> Iterator[pa.RecordBatch]:
        return per_prompt(table, schema, lambda prompts: _columns(prompts, words))

    return (ColumnSet(f"safety.{words.sha256[:12]}", VERSION, schema, fields, build, "revision"),)


def _columns(prompts: pa.Array, words: WordList) -> list[pa.Array]:
    found = flags(prompts, words)
    has = np.stack([each.to_numpy(zero_copy_only=False) for each in found.values()], axis=1)
    together, of = np.unique(has, axis=0, return_inverse=True)
    named = [",".join(name for name, there in zip(found, row, strict=True) if there) or None for row in together]
    joined = pa.array(named, pa.string()).take(pa.array(of.reshape(-1)))
    return [pc.is_valid(joined), joined, *found.values()]


SAFETY: Final = ColumnFamily("safety", VERSION, _sets)
