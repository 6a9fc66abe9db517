"""From bytes to a picture, trusting nothing: caps before decoding, one colour policy, a status for all that fails.
Does not know where the bytes come from."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from ranking import schema
from ranking.errors import RowError

MAX_BYTES = 20_000_000
MAX_PIXELS = 25_000_000
FORMATS = ("JPEG", "PNG", "WEBP")


class ImageError(RowError):
    """An image that cannot be used; `status` says why: missing, corrupt, too_large or unsupported."""

    default_code = "image"


class TakenDownError(ImageError):
    """An image that was taken down: its bytes are not given out. `sha256` is theirs where they were read to be told by
    it."""

    def __init__(self, uid: str, *, sha256: str | None = None) -> None:
        super().__init__(f"image {uid} was taken down", status=schema.TAKEN_DOWN)
        self.sha256 = sha256


Found = bytes | ImageError | None
"""What a source has for an image: its bytes, nothing, or the reason why there are none to be had."""


def decode_rgb(data: Found) -> Image.Image:
    """The picture as RGB, height × width as stored: what is transparent is laid over white, 16-bit grey keeps its
    high byte, CMYK is converted by the plain formula. EXIF orientation and colour profiles are not applied: scorers
    and raters of the datasets we read saw the pixels as stored (docs/images.md).

    Raises ImageError for no bytes, more than 20 MB or 25 megapixels (checked before decoding), any format but
    JPEG, PNG or WebP, animations, and data that ends early or does not decode; and the error that came instead of
    bytes.
    """
    with _opened(data) as image:
        image.load()
        return _over_white(image)


def format_of(data: Found) -> str:
    """ "JPEG", "PNG" or "WEBP", by the header alone. Raises ImageError for what `decode_rgb` refuses, as far as a
    header shows it: data that ends early or does not decode passes."""
    with _opened(data) as image:
        return str(image.format)


def size_of(data: Found) -> tuple[int, int]:
    """(height, width) in pixels, by the header alone; raises as `format_of` does."""
    with _opened(data) as image:
        return image.height, image.width


@contextmanager
def _opened(data: Found) -> Iterator[Image.Image]:
    if isinstance(data, ImageError):
        raise data
    if not data:
        raise ImageError("the image has no bytes", status=schema.MISSING)
    if len(data) > MAX_BYTES:
        raise too_large(len(data))
    try:
        with _quiet_pillow(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(f"the image has {width} × {height} pixels", status=schema.TOO_LARGE)
            if getattr(image, "n_frames", 1) != 1:
                raise ImageError("the image is an animation", status=schema.UNSUPPORTED)
            yield image
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("the image has too many pixels", status=schema.TOO_LARGE) from error
    except UnidentifiedImageError as error:
        raise ImageError("the image is damaged, or not JPEG, PNG or WebP", status=schema.CORRUPT) from error
    except Exception as error:  # Pillow's decoders raise almost anything on hostile data
        raise ImageError(f"the image does not decode ({type(error).__name__})", status=schema.CORRUPT) from error


def too_large(size: int) -> ImageError:
    """The error for an image of `size` bytes, above the cap."""
    return ImageError(f"the image has {size} bytes, more than {MAX_BYTES}", status=schema.TOO_LARGE)


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    if image.mode.startswith(("I", "F")):  # Pillow would cut 16 bits off at 255: everything bright becomes white
        return _from_16_bits(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    grey = (values >> 8).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey).convert("RGB")


_quiet_lock = threading.Lock()
_quiet_users = 0
_quiet = warnings.catch_warnings()


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    # Pillow warns of sizes and odd metadata: the size we check, the rest does not matter. The filters belong to the
    # whole process, so of many threads that decode at once the first changes them and the last puts them back.
    global _quiet_users, _quiet
    with _quiet_lock:
        _quiet_users += 1
        if _quiet_users == 1:
            _quiet = warnings.catch_warnings()
            _quiet.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\b")
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                _quiet.__exit__(None, None, None)
