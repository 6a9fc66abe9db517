"""BLIP's word pieces against transformers 4.27's BertTokenizer as image-reward 1.5 sets it up, and the order in which
prompts are read."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_blip import NASTY, PROMPTS, TINY, VOCABULARY

from workers.scorers.blip import CONTEXT, WordPieces, by_length, padded
from workers.scorers.weights import WeightsError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "image_reward.json").read_text())


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def pieces(vocabulary: Path) -> WordPieces:
    return WordPieces(vocabulary, size=TINY["vocabulary"])


def test_ids_are_those_of_the_authors_tokenizer_for_strings_that_break_others(pieces: WordPieces) -> None:
    texts = NASTY + PROMPTS
    given = [np.pad(ids, (0, CONTEXT - len(ids))).tolist() for ids in pieces(texts)]
    assert dict(zip(texts, given, strict=True)) == dict(zip(texts, GOLDEN["ids"], strict=True))


def test_no_prompt_gets_enc_or_dec_unless_it_spells_them_out(pieces: WordPieces) -> None:
    dec, enc = len(VOCABULARY), len(VOCABULARY) + 1
    assert enc == TINY["vocabulary"] - 1
    assert not any({dec, enc} & set(ids) for ids in pieces([*PROMPTS, "[enc] a cat"]))
    (spelt,) = pieces(["[ENC] [DEC]"])
    assert spelt.tolist() == [VOCABULARY.index("[CLS]"), enc, dec, VOCABULARY.index("[SEP]")]


def test_a_long_prompt_is_cut_to_33_pieces_and_still_ends_with_sep(pieces: WordPieces) -> None:
    (ids,) = pieces(["cat " * 60])
    assert len(ids) == 35
    assert ids[-1] == VOCABULARY.index("[SEP]")
    assert set(ids[1:-1]) == {VOCABULARY.index("cat")}


def test_most_words_are_known(pieces: WordPieces) -> None:
    # `BertTokenizer(vocab_file=…)` of transformers 5 leaves five pieces and makes every word unknown.
    (ids,) = pieces(["a red cat with horn on sand"])
    assert VOCABULARY.index("[UNK]") not in ids


def test_a_vocabulary_of_another_size_or_without_the_special_pieces_is_refused(
    vocabulary: Path, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="97 distinct pieces, not 30522"):
        WordPieces(vocabulary, size=30524)
    other = tmp_path / "other.txt"
    other.write_text("\n".join(piece.replace("[CLS]", "<s>") for piece in VOCABULARY))
    with pytest.raises(WeightsError, match="not the vocabulary"):
        WordPieces(other, size=TINY["vocabulary"])


def test_prompts_of_like_length_are_read_together_and_each_once() -> None:
    lengths = np.array([9, 3, 35, 3, 4, 20, 3])
    parts = [part.tolist() for part in by_length(lengths, 3)]
    assert parts == [[1, 3, 6], [4, 0, 5], [2]]
    assert list(by_length(np.array([], np.int64), 3)) == []


def test_rows_say_their_length_and_are_as_wide_as_the_longest() -> None:
    rows = padded([np.array([3, 7, 4]), np.array([3, 4])])
    assert [row.tolist() for row in rows] == [[3, 3, 7, 4], [2, 3, 4, 0]]
