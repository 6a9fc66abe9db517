"""Images by pointer: reading their bytes, decoding them safely, what is known of them, and thumbnails. Images stay in
their sources; nothing is copied here but thumbnails."""

from ranking.images.decode import FORMATS, MAX_BYTES, MAX_PIXELS, Found, ImageError, TakenDownError, decode_rgb, size_of
from ranking.images.reader import ImageReader

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "Found",
    "ImageError",
    "ImageReader",
    "TakenDownError",
    "decode_rgb",
    "size_of",
]
