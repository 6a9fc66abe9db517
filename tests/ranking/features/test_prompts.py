"""What a prompt's text says: its length, its language, and words that call it unsafe."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pickapic_factory import Row, write
from scored import score_all

from ranking import duck
from ranking.errors import UsageError
from ranking.features import language
from ranking.features.columns import column_file
from ranking.features.language import LANGUAGES, languages
from ranking.features.pairs import PairTable
from ranking.features.safety import flags, folded, parse_words, word_list
from ranking.flags.taking import take_down
from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.store.snapshots import create_snapshot

PROMPTS = {
    # prompt: characters, words, language
    "a red star on a sand background": (31, 7, "en"),
    "un chat noir sur un toit": (24, 6, "fr"),
    "рыжий кот на крыше": (18, 4, "ru"),
    "猫が屋根の上にいる": (9, 1, "ja"),  # no spaces: one run
    "UNA MUJER CAMINANDO POR LA PLAYA, 8K!": (37, 7, "es"),
    "dog": (3, 1, "und"),
    "!!!": (3, 0, "und"),
    "🚀🚀": (2, 0, "und"),
}


def table_of(store: Store, folder: Path, prompts: list[str], name: str = "texts") -> PairTable:
    rows = [Row(prompt, f"l{index}", f"r{index}", ranking=index) for index, prompt in enumerate(prompts)]
    ingest(store, write(folder / f"{name}.parquet", rows), name)
    return PairTable(store, score_all(store, name, {"a@00000000": lambda _: 0.5}), name)


def read(table: PairTable, *names: str) -> dict[str, list[Any]]:
    with table.connect() as con:
        columns = ", ".join(map(duck.identifier, names))
        found = duck.arrow(con, f"SELECT {columns} FROM {table.relation(names)}")
    return {name: found[name].to_pylist() for name in names}


def test_length_and_language_of_prompts_of_many_scripts(store: Store, tmp_path: Path) -> None:
    twice = [*PROMPTS, *reversed(PROMPTS)]
    found = read(table_of(store, tmp_path, twice), "prompt", "prompt_characters", "prompt_words", "language")
    expected = [(prompt, *PROMPTS[prompt]) for prompt in twice]
    assert list(zip(*found.values(), strict=True)) == expected


def test_languages_are_those_of_py3langid_itself() -> None:
    """The other implementation is the package's own, one text after the other."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    theirs = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    theirs.set_languages(list(LANGUAGES))
    texts = [*PROMPTS, "Ein Haus am See, Ölgemälde", "portrait of a woman, by greg rutkowski", "WARRIOR", "x" * 300]
    texts += [f"a {colour} {thing} in the {place}" for colour in ("red", "teal") for thing in ("fox", "chair")
              for place in ("snow", "kitchen")]  # fmt: skip
    found, sure = languages(texts)
    for text, code, probability in zip(texts, found, sure, strict=True):
        if code < 0:
            assert not any(letter.isalpha() for letter in text)
            continue
        expected, their_probability = theirs.classify(text[: language.MOST_CHARACTERS])
        assert LANGUAGES[code] == expected, text
        assert probability == pytest.approx(their_probability, abs=0.002), text


def test_texts_do_not_move_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*PROMPTS, "", "a", "the house " * 60]
    together = languages(texts)
    monkeypatch.setattr(language, "_TEXTS_AT_ONCE", 1)
    alone = languages(texts)
    assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))
    assert [len(part) for part in languages([])] == [0, 0]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a naked man", "sexual"),
        ("A NÁKED man", "sexual"),
        ("a snaked path", None),
        ("Sussex, a shirtless analysis", None),
        ("the KU  KLUX-KLAN", "hate"),
        ("klux ku klan", None),
        ("nude, gory corpse", "sexual,gore"),
        ("ｎｕｄｅ", "sexual"),  # full-width letters are the same letters
        ("nud3", None),
    ],
)
def test_words_are_matched_whole_without_case_and_accents(
    store: Store, tmp_path: Path, prompt: str, expected: str | None
) -> None:
    found = {name: bool(each[0].as_py()) for name, each in flags(pa.array([prompt]), word_list()).items()}
    assert ",".join(name for name, there in found.items() if there) == (expected or "")


def test_flags_stand_beside_every_pair_of_the_prompt(store: Store, tmp_path: Path) -> None:
    table = table_of(store, tmp_path, ["a nude corpse", "a cup", "a nude corpse"])
    found = read(table, "prompt_unsafe", "prompt_flags", "prompt_unsafe.sexual", "prompt_unsafe.hate")
    assert found == {
        "prompt_unsafe": [True, False, True],
        "prompt_flags": ["sexual,gore", None, "sexual,gore"],
        "prompt_unsafe.sexual": [True, False, True],
        "prompt_unsafe.hate": [False, False, False],
    }


def test_another_list_takes_the_place_of_ours_and_its_columns_are_others(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(store, tmp_path, ["a nude corpse", "ein Äffchen"])
    assert read(table, "prompt_unsafe")["prompt_unsafe"] == [True, False]
    own = tmp_path / "words.yaml"
    own.write_text("monkeys: [affchen, 'no']\n", encoding="utf-8")
    monkeypatch.setenv("PAIRSIEVE_SAFETY_WORDS", str(own))
    again = PairTable(table.store, table.snapshot, table.dataset)
    assert read(again, "prompt_unsafe", "prompt_unsafe.monkeys")["prompt_unsafe"] == [False, True]
    assert "prompt_unsafe.sexual" not in again.fields


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[a, b]", "no map"),
        ("bad: [a", "no YAML"),
        ("bad: nude", "no list"),
        ("bad: [no, nude]", "no list"),  # YAML reads it as false
        ("bad: ['!!']", "without letters"),
        ("Bad Words: [a]", "name no field"),
        ("", "no map"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_words(text, where="words.yaml")
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_our_list_is_folded_and_has_each_word_once() -> None:
    words = word_list()
    listed = [word for each in words.categories.values() for word in each]
    assert len(listed) == len(set(listed))
    assert [f" {word} " for word in listed] == folded(pa.array(listed)).to_pylist()
    assert set(words.categories) == {"sexual", "gore", "self_harm", "hate", "weapons_and_drugs"}


def test_text_is_kept_for_the_revision_and_serves_later_snapshots(store: Store, tmp_path: Path) -> None:
    table = table_of(store, tmp_path, ["a cup", "a nude"])
    path = column_file(table, table.column_sets["text"])
    later = score_all(store, "texts", {"b@00000000": lambda _: 0.25})
    assert later.sha != table.snapshot.sha
    again = PairTable(store, later, "texts")
    assert column_file(again, again.column_sets["text"]) == path
    assert column_file(again, again.column_sets["pareto"]) != column_file(table, table.column_sets["pareto"])


def test_where_a_snapshot_leaves_pairs_out_every_column_stays_beside_its_pair(store: Store, tmp_path: Path) -> None:
    prompts = ["a cup", "a nude", "one more cup", "a naked cup"]
    table = table_of(store, tmp_path, prompts)
    names = ("prompt", "prompt_words", "prompt_flags", "pareto_0")
    assert read(table, *names)["prompt_words"] == [2, 2, 3, 3]
    take_down(store, "l1", dataset="texts", by="ann", why="asked for", door="cli")
    after = PairTable(store, create_snapshot(store), "texts")
    assert read(after, *names) == {
        "prompt": ["a cup", "one more cup", "a naked cup"],
        "prompt_words": [2, 3, 3],
        "prompt_flags": [None, None, "sexual"],
        "pareto_0": [1, 1, 1],
    }
    assert read(table, *names)["prompt_words"] == [2, 2, 3, 3], "the snapshot before means what it meant"
