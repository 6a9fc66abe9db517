"""Which language a text is in: py3langid's model (Lui and Baldwin 2012; multinomial naive Bayes over byte n-grams),
carried out for very many short texts at once. Knows texts and arrays only."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

LANGUAGES: Final = (
    *("ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko"),
    *("nl", "no", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh"),
)
"""What is told apart, ISO 639-1: languages that people prompt in. The model knows some seventy more, and with all of
them fewer short prompts in English are known for what they are (docs/text-features.md has figures)."""

MOST_CHARACTERS: Final = 256
"""Of a longer text only the beginning is read."""

_TEXTS_AT_ONCE = 50_000
_BITS = 12  # of the fraction of a whole number that stands for a weight


@dataclass(frozen=True)
class _Model:
    """An automaton over bytes whose states may each see a feature, and what a feature says of each language: weights
    int64 of shape (features, languages), the prior (languages,), both times 2^_BITS."""

    step: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    weights: npt.NDArray[np.int64]
    prior: npt.NDArray[np.int64]


def languages(texts: Sequence[str]) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float64]]:
    """For each of n texts the position of its likeliest language in LANGUAGES (int16 of shape (n,)) and the probability
    that the model gives it among them (float64, rounded to thousandths); −1 and 0 for a text in which the model sees
    nothing.

    The sums are of whole numbers, so that they are the same everywhere; rounding the weights moves a probability by
    less than a thousandth or so from py3langid's own.
    """
    found, sure = np.full(len(texts), -1, np.int16), np.zeros(len(texts))
    for begin in range(0, len(texts), _TEXTS_AT_ONCE):
        part = slice(begin, begin + _TEXTS_AT_ONCE)
        found[part], sure[part] = _some(texts[part])
    return found, sure


def _some(texts: Sequence[str]) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float64]]:
    from scipy.sparse import csr_array

    model = _model()
    data = [_encoded(text) for text in texts]
    lengths = np.array([len(each) for each in data], np.int64)
    owner, feature = _seen(model, data, lengths)
    keys, counts = np.unique(owner * len(model.weights) + feature, return_counts=True)
    # How often a feature was seen counts by its logarithm, as in py3langid since 0.4.
    times = np.rint(np.log1p(np.arange(counts.max(initial=0) + 1)) * 2**_BITS).astype(np.int64)
    of = keys // len(model.weights)
    starts = np.searchsorted(of, np.arange(len(texts) + 1))
    seen = csr_array((times[counts], keys % len(model.weights), starts), shape=(len(texts), len(model.weights)))
    scores = (seen @ model.weights + (model.prior << _BITS)) / 2.0 ** (2 * _BITS)
    best = scores.argmax(axis=1)
    # Divided by the root of the length, which keeps probabilities calibrated across lengths (py3langid).
    calm = (scores - scores.max(axis=1, keepdims=True)) / np.sqrt(np.maximum(lengths, 1))[:, None]
    sure = np.round(1 / np.exp(calm).sum(axis=1), 3)
    nothing = np.diff(starts) == 0
    return np.where(nothing, -1, best).astype(np.int16), np.where(nothing, 0.0, sure)


def _seen(
    model: _Model, data: Sequence[bytes], lengths: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Walk all texts at once, byte by byte: which text saw which feature, once for each time it did."""
    order = np.argsort(-lengths, kind="stable")
    joined = np.frombuffer(b"".join(data), np.uint8)
    starts = (np.cumsum(lengths) - lengths)[order]
    state = np.zeros(len(data), np.int64)
    still = np.searchsorted(-lengths[order], -np.arange(lengths.max(initial=0)), side="left")
    owners, features = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for at, count in enumerate(still):  # the texts that have a byte there come first
        walked = model.step[(model.row[state[:count]] << 8) + joined[starts[:count] + at]]
        state[:count] = walked
        feature = model.feature[walked]
        sees = np.flatnonzero(feature >= 0)
        owners.append(order[sees])
        features.append(feature[sees])
    return np.concatenate(owners), np.concatenate(features)


def _encoded(text: str) -> bytes:
    text = text[:MOST_CHARACTERS]
    text = text.lower() if text.isupper() else text
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).encode("utf-8", "surrogatepass")


@lru_cache(maxsize=1)
def _model() -> _Model:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    known: Any = LanguageIdentifier.from_model_file(MODEL_FILE)
    chosen = [known.nb_classes.index(code) for code in LANGUAGES]
    return _Model(
        step=np.asarray(known.tk_nextmove).astype(np.int64),
        row=np.asarray(known.tk_row).astype(np.int64),
        feature=np.asarray(known.tk_output).astype(np.int64),
        weights=_whole(known.nb_ptc[:, chosen]),
        prior=_whole(known.nb_pc[chosen]),
    )


def _whole(weights: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int64]:
    whole: npt.NDArray[np.int64] = np.rint(weights.astype(np.float64) * 2**_BITS).astype(np.int64)
    return whole
