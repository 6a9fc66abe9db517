"""Token ids of hard prompts, as the authors' packages give them; and that no tokenizer can stand in for another."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest

from tests.workers.clip_vocabularies import clip_vocabulary, gemma_like
from tests.workers.hard_prompts import PROMPTS
from workers.scorers.tokens import hf_clip_tokens, open_clip_tokens, siglip2_tokens
from workers.scorers.weights import WeightsError

GOLDEN = Path(__file__).parent / "golden"
START, END = 49406, 49407


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return clip_vocabulary(tmp_path_factory.mktemp("vocabulary"))


def test_hugging_faces_clip_ids_are_those_of_the_package_that_pickscores_users_had(
    vocabulary: tuple[Path, Path],
) -> None:
    golden = json.loads((GOLDEN / "hf_clip_tokens.json").read_text())
    ids = hf_clip_tokens(*vocabulary, 77)(PROMPTS)
    assert ids.shape == (len(PROMPTS), 77)
    assert ids.dtype == np.int64
    for row, expected in zip(ids.tolist(), golden["ids"], strict=True):
        assert row == expected + [END] * (77 - len(expected))


def test_open_clips_ids_are_those_of_hpsv2s_own_tokenizer() -> None:
    golden = json.loads((GOLDEN / "hpsv2.json").read_text())
    ids = open_clip_tokens(77)(PROMPTS)
    for row, expected in zip(ids.tolist(), golden["ids"], strict=True):
        assert row == expected + [0] * (77 - len(expected))


def test_a_prompt_that_is_cut_still_ends(vocabulary: tuple[Path, Path]) -> None:
    for tokenize in (open_clip_tokens(77), hf_clip_tokens(*vocabulary, 77)):
        ids = tokenize(["word " * 75, "word " * 76, "word " * 200])
        assert ids[:, 0].tolist() == [START] * 3
        assert ids[:, 76].tolist() == [END] * 3
        assert (ids[1] == ids[2]).all()


def test_one_clip_tokenizer_cannot_stand_in_for_the_other(vocabulary: tuple[Path, Path]) -> None:
    # The negative control: ids up to the first end differ for what ftfy and HTML unescaping mend, for the names of
    # the special tokens, and nowhere else.
    def read(row: list[int]) -> list[int]:
        return row[: row.index(END) + 1]

    ours, theirs = open_clip_tokens(77)(PROMPTS).tolist(), hf_clip_tokens(*vocabulary, 77)(PROMPTS).tolist()
    different = {prompt for prompt, a, b in zip(PROMPTS, ours, theirs, strict=True) if read(a) != read(b)}
    assert different == {
        "A “quoted” word, it’s here",
        "fish &amp; chips &lt;3 &amp;amp; more",
        "\ufb01sh and \ufb03 ligatures, e\u0301 composed",
        "\uff46\uff55\uff4c\uff4c \uff57\uff49\uff44\uff54\uff48",
        "mojibake: schÃ¶n, donâ€™t",
        "an <|endoftext|> in the middle of it",
        "<|startoftext|> at the start",
    }


def test_a_vocabulary_of_something_else_is_refused(tmp_path: Path) -> None:
    vocab, merges = clip_vocabulary(tmp_path)
    words = json.loads(vocab.read_text("utf-8"))
    words["<|endoftext|>"], words["!"] = words["!"], words["<|endoftext|>"]
    vocab.write_text(json.dumps(words), "utf-8")
    with pytest.raises(WeightsError, match="no vocabulary of CLIP"):
        hf_clip_tokens(vocab, merges, 77)


def test_siglip_reads_text_then_an_end_then_zeros(tmp_path: Path) -> None:
    # big_vision trains SigLIP 2 with `tok(length=64, model="gemma", bos="no", eos="sticky")` and pads with zeros.
    ids = siglip2_tokens(gemma_like(tmp_path), 64)(["ab c", "Ab, C!", "x" * 300, "", "&amp; <eos>"])
    a, b, c, x = 5, 6, 7, 28
    assert ids.shape == (5, 64)
    assert ids[0].tolist() == [a, b, 4, c, 1] + [0] * 59
    assert ids[1].tolist() == ids[0].tolist()  # open_clip takes case and punctuation out
    assert ids[2].tolist() == [x] * 63 + [1]
    assert ids[3].tolist() == [1] + [0] * 63
    assert ids[4].tolist() == [9, 19, 23, 1] + [0] * 60  # no end of text can be written into a prompt
    assert ids[0, 0] != 0
    assert ids[0, -1] == 0


def test_siglips_ids_are_open_clips(tmp_path: Path) -> None:
    file = gemma_like(tmp_path)
    # What transformers' own conversion of SigLIP 2 asks of Gemma's tokenizer.
    config = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True}
    config |= {"padding_side": "right", "pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    theirs = open_clip.tokenizer.HFTokenizer(str(tmp_path), context_length=64, clean="canonicalize")
    np.testing.assert_array_equal(siglip2_tokens(file, 64)(PROMPTS), theirs(PROMPTS).numpy())


def test_a_siglip_tokenizer_with_another_padding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no tokenizer of SigLIP 2"):
        siglip2_tokens(gemma_like(tmp_path, pad="<blank>"), 64)
