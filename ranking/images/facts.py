"""What is known of an image once it was decoded: its size, hash, dimensions and a perceptual hash. Facts are committed
like scores, under an id of their own, but they are not scores."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ranking.images.decode import Found, ImageError, TakenDownError
from ranking.names import canonical_json, sha256_hex
from ranking.schema import FACTS_NAME, OK

__all__ = ["FACTS_ID", "FACTS_NAME", "ImageFacts", "facts_of", "perceptual_hash"]

_SIDE = 32
_KEPT = 8
_DEFINITION = {
    "version": 1,  # raise it when the code below gives other values
    "phash": "luma (ITU-R 601-2) resized to 32×32 (bilinear, antialiased), DCT-II, lowest 8×8 above their median",
    "decode": "pixels as stored, transparency over white",
}
FACTS_ID = f"{FACTS_NAME}@{sha256_hex(canonical_json(_DEFINITION))[:12]}"
"""The id under which facts are committed; another definition has another id."""


@dataclass(frozen=True)
class ImageFacts:
    """One row of schema.FACTS but for the uid. `bytes` and `sha256` are None where there are no bytes to be had
    (`bytes` may be known even then), the dimensions in pixels and `phash` unless `status` is "ok"."""

    status: str
    bytes: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    phash: int | None = None


def facts_of(data: Found, image: Image.Image | ImageError) -> ImageFacts:
    """The facts of an image from what its source has and what became of decoding that."""
    known = data if isinstance(data, bytes) and data else None
    size = len(known) if known else None
    sha256 = hashlib.sha256(known).hexdigest() if known else None
    if isinstance(data, TakenDownError):
        return ImageFacts(data.status, None, data.sha256)  # so that its copies are told in later snapshots, too
    if isinstance(image, ImageError):
        return ImageFacts(image.status, size, sha256)
    return ImageFacts(OK, size, sha256, image.width, image.height, perceptual_hash(image))


def perceptual_hash(image: Image.Image) -> int:
    """64 bits that change little when a picture is encoded again or resized: the number of differing bits (0 to 64)
    of two hashes is a distance, a few for copies and about 32 for strangers.

    The picture becomes grey and 32 × 32; of its two-dimensional DCT-II (type 2, orthonormal) the 8 × 8 lowest
    frequencies are kept, row by row, the most significant bit first. A bit is set where the coefficient is above the
    median of the 63 without the constant one, whose own bit is always 0. Coefficients are rounded to a hundredth of
    a grey level first; so a flat picture, whatever its colour, has the hash 0.
    """
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    grey = np.asarray(small, np.float64)
    low = np.round(_COSINES @ grey @ _COSINES.T, 2).ravel()
    bits = low > np.median(low[1:])
    bits[0] = False
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _cosines() -> npt.NDArray[np.float64]:
    frequency, place = np.arange(_KEPT)[:, None], np.arange(_SIDE)[None, :]
    rows: npt.NDArray[np.float64] = np.cos(np.pi * frequency * (2 * place + 1) / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
    rows[0] /= np.sqrt(2)
    return rows


_COSINES = _cosines()
