"""Prompts that say nearly the same: equal up to case, spaces and punctuation, or sharing most of their character
5-grams. Knows texts and arrays only."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

SIMILARITY = 0.7
"""Jaccard similarity of the sets of 5-grams from which on two prompts are near-duplicates."""

GRAM = 5
_BANDS, _ROWS = 12, 4
_TEXTS_AT_ONCE = 20_000  # of about seventy grams each
_PAIRS_AT_ONCE = 50_000
_ALIKE = 0.5  # of the signature; a pair with similarity 0.7 has fewer in one case of a thousand

Numbers = npt.NDArray[np.int64]


def normalised(prompts: pa.Array) -> pa.Array:
    """The prompts as they are compared: NFKC, lower case, anything but letters, digits and marks one space."""
    text = pc.utf8_lower(pc.utf8_normalize(prompts, "NFKC"))
    words = pc.replace_substring_regex(text, r"[^\pL\pN\pM]+", " ")
    return pc.utf8_trim_whitespace(words)


def clusters(prompts: pa.Array) -> tuple[Numbers, Numbers]:
    """For each of n distinct prompts (a string array) its group of equal texts after `normalised`, and its cluster
    of near-duplicates: two int64 arrays of shape (n,), each naming a group by its first member.

    Near-duplicates are found by MinHash (Broder 1997) with 12 bands of 4 rows, which meets 96 % of pairs with
    similarity 0.7 and 99.9 % of those with 0.85; what meets is compared exactly. In a bucket of many every
    prompt is compared with the first and with its neighbour only, so that stock phrases do not make it quadratic.
    Clusters are connected: a long series of small edits is one cluster.
    """
    encoded = pc.dictionary_encode(normalised(prompts))
    same = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    texts = encoded.dictionary
    if len(texts) == 0:
        return same, same
    first_of = np.full(len(texts), len(same), np.int64)
    np.minimum.at(first_of, same, np.arange(len(same)))
    grams, starts = _grams(texts)
    left, right = _candidates(_signatures(grams, starts))
    near = _similarity(grams, starts, left, right) >= SIMILARITY
    edges = csr_array((np.ones(int(near.sum())), (left[near], right[near])), shape=(len(texts), len(texts)))
    _, component = connected_components(edges, directed=False)
    first_of_component = np.full(component.max() + 1, len(same), np.int64)
    np.minimum.at(first_of_component, component, first_of)
    return first_of[same], first_of_component[component[same]]


def _grams(texts: pa.Array) -> tuple[npt.NDArray[np.int32], Numbers]:
    """The distinct 5-grams (of bytes, hashed to 31 bits, rising) of each text one after the other, and where each
    text's begin. A text of fewer bytes is one gram."""
    parts, counts = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for begin in range(0, len(texts), _TEXTS_AT_ONCE):
        grams, count = _grams_of(texts.slice(begin, _TEXTS_AT_ONCE))
        parts.append(grams)
        counts.append(count)
    return np.concatenate(parts), np.concatenate([[0], np.cumsum(np.concatenate(counts))])


def _grams_of(texts: pa.Array) -> tuple[npt.NDArray[np.int32], Numbers]:
    array = pa.concat_arrays([pc.cast(texts, pa.large_binary())])
    offsets = np.frombuffer(array.buffers()[1], np.int64)[: len(array) + 1]
    data = np.frombuffer(array.buffers()[2] or b"", np.uint8)[: offsets[-1]].astype(np.uint64)
    counts = np.maximum(np.diff(offsets) - GRAM + 1, 1)
    owner = np.repeat(np.arange(len(array)), counts)
    at = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts) + offsets[owner]
    padded = np.concatenate([data, np.zeros(GRAM, np.uint64)])
    values = np.zeros(len(at), np.uint64)
    for step in range(GRAM):
        values = (values << np.uint64(8)) | np.where(at + step < offsets[owner + 1], padded[at + step], 0)
    values *= np.uint64(0x9E3779B97F4A7C15)
    keys = _distinct((owner.astype(np.uint64) << np.uint64(31)) | (values >> np.uint64(33)))
    return (keys & np.uint64((1 << 31) - 1)).astype(np.int32), np.bincount(keys >> np.uint64(31), minlength=len(array))


def _signatures(grams: npt.NDArray[np.int32], starts: Numbers) -> npt.NDArray[np.uint32]:
    """MinHash signatures: uint32 of shape (48, texts), by multiplication with random odd numbers."""
    rng = np.random.default_rng(0)  # fixed: equal prompts must cluster alike everywhere
    multipliers = rng.integers(0, 1 << 31, _BANDS * _ROWS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    signatures = np.empty((len(multipliers), len(starts) - 1), np.uint32)
    for begin in range(0, len(starts) - 1, _TEXTS_AT_ONCE):
        bounds = starts[begin : begin + _TEXTS_AT_ONCE + 1]
        part = grams[bounds[0] : bounds[-1]].astype(np.uint32)
        for row, multiplier in enumerate(multipliers):
            signatures[row, begin : begin + _TEXTS_AT_ONCE] = np.minimum.reduceat(
                part * multiplier, bounds[:-1] - bounds[0]
            )
    return signatures


def _candidates(signatures: npt.NDArray[np.uint32]) -> tuple[Numbers, Numbers]:
    """Pairs of texts that share a band, each with the first of its bucket and with its neighbour there."""
    count = signatures.shape[1]
    found = []
    for band in range(_BANDS):
        key = np.zeros(count, np.uint64)
        for row in signatures[band * _ROWS : (band + 1) * _ROWS]:
            key = (key ^ row) * np.uint64(0xFF51AFD7ED558CCD)
            key ^= key >> np.uint64(32)
        order = np.argsort(key, kind="stable")
        begins = np.flatnonzero(np.concatenate([[True], key[order][1:] != key[order][:-1]]))
        first = np.repeat(order[begins], np.diff(np.concatenate([begins, [count]])))
        found.append((first << 32) | order)
        neighbours = (order[:-1] << 32) | order[1:]
        found.append(neighbours[key[order][1:] == key[order][:-1]])
    pairs = _distinct(np.concatenate(found))
    left, right = pairs >> 32, pairs & 0xFFFFFFFF
    alike = np.zeros(len(pairs), np.int16)
    for row in signatures:
        alike += row[left] == row[right]
    wanted = (left != right) & (alike >= _ALIKE * len(signatures))
    return left[wanted], right[wanted]


def _similarity(
    grams: npt.NDArray[np.int32], starts: Numbers, left: Numbers, right: Numbers
) -> npt.NDArray[np.float64]:
    """The exact Jaccard similarity of the sets of grams of each pair."""
    sets = csr_array((np.ones(len(grams), np.float32), grams, starts), shape=(len(starts) - 1, 1 << 31))
    sizes = np.diff(starts)
    common = np.zeros(len(left))
    for begin in range(0, len(left), _PAIRS_AT_ONCE):
        part = slice(begin, begin + _PAIRS_AT_ONCE)
        common[part] = sets[left[part]].multiply(sets[right[part]]).sum(axis=1)
    similarity: npt.NDArray[np.float64] = common / (sizes[left] + sizes[right] - common)
    return similarity


def _distinct(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # np.unique hashes, which on tens of millions of numbers takes ten times as long as sorting them.
    values.sort()
    distinct: npt.NDArray[Any] = values[np.concatenate([[True], values[1:] != values[:-1]])]
    return distinct
