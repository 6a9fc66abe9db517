"""Odd images made in code: what each is, and what must come of it: the colour of its first pixel, or a status."""

import io
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

Pixel = tuple[int, int, int]


@dataclass(frozen=True)
class Odd:
    """`becomes` is a status, or the RGB of the pixel at the top left within `tolerance`; `size` is width and height
    where they matter."""

    name: str
    data: bytes | None
    becomes: str | Pixel
    size: tuple[int, int] | None = None
    tolerance: int = 0


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """The image as a file."""
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    size: tuple[int, int], depth: int, colour: int, rows: bytes, extra: Iterable[tuple[bytes, bytes]] = ()
) -> bytes:
    """A PNG by hand: `rows` with a filter byte each, `extra` chunks before the pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header)]
        + [chunk(kind, data) for kind, data in extra]
        + [chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b"")]
    )


def animation(format: str) -> bytes:
    """Two frames."""
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:])


def bomb(side: int) -> bytes:
    """A grey PNG of side × side in some kB."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + side)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def turned(orientation: int) -> bytes:
    """A JPEG 5 wide and 3 high whose EXIF asks for a rotation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.new("RGB", (5, 3), (200, 0, 0)), "JPEG", exif=exif)


def odd_images() -> list[Odd]:
    """All of them."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    photo = encoded(Image.fromarray(noise), "JPEG")
    lossless = encoded(Image.fromarray(noise), "PNG")
    webp = encoded(Image.fromarray(noise), "WEBP")
    red = Image.new("RGB", (4, 4), (200, 0, 0))
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    grey16 = b"\0" + struct.pack(">HH", 0x8000, 0x00FF)
    first = tuple(int(value) for value in noise[0, 0])
    return [
        Odd("one pixel", encoded(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG"), (9, 8, 7), (1, 1)),
        Odd("one pixel jpeg", encoded(Image.new("RGB", (1, 1), (90, 80, 70)), "JPEG"), (90, 80, 70), (1, 1), 3),
        Odd("very wide", encoded(Image.new("RGB", (16000, 1), (9, 8, 7)), "PNG"), (9, 8, 7), (16000, 1)),
        Odd("plain webp", encoded(red, "WEBP", lossless=True), (200, 0, 0)),
        Odd("progressive jpeg", encoded(red, "JPEG", progressive=True), (200, 0, 0), tolerance=4),
        Odd("grey jpeg", encoded(Image.new("L", (4, 4), 77), "JPEG"), (77, 77, 77), tolerance=2),
        Odd("cmyk jpeg", encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), (255, 0, 0), tolerance=4),
        Odd("cmyk black", encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG"), (0, 0, 0), tolerance=4),
        Odd("grey png", encoded(Image.new("L", (4, 4), 77), "PNG"), (77, 77, 77)),
        Odd("bilevel png", encoded(Image.new("1", (4, 4), 1), "PNG"), (255, 255, 255)),
        Odd("two-bit png", png((4, 1), 2, 0, b"\0\x6c"), (85, 85, 85)),
        Odd("16-bit grey", png((2, 1), 16, 0, grey16), (128, 128, 128)),
        Odd("16-bit grey, clear", png((2, 1), 16, 0, grey16, [(b"tRNS", b"\x80\0")]), (255, 255, 255)),
        Odd("16-bit grey, other clear", png((2, 1), 16, 0, grey16, [(b"tRNS", b"\x80\1")]), (128, 128, 128)),
        Odd("16-bit colour", png((1, 1), 16, 2, b"\0" + struct.pack(">HHH", 0x80FF, 0x10, 0xFFFF)), (128, 0, 255)),
        Odd("16-bit with alpha", png((1, 1), 16, 6, b"\0" + struct.pack(">HHHH", 0, 0, 0, 0)), (255, 255, 255)),
        Odd("16-bit grey with alpha", png((1, 1), 16, 4, b"\0" + struct.pack(">HH", 0x4000, 0xFFFF)), (64, 64, 64)),
        Odd("transparent", encoded(clear, "PNG"), (255, 255, 255)),
        Odd("half transparent", encoded(half, "PNG"), (255, 127, 127), tolerance=1),
        Odd("transparent webp", encoded(clear, "WEBP", lossless=True), (255, 255, 255)),
        Odd("grey and alpha", encoded(Image.new("LA", (4, 4), (0, 0)), "PNG"), (255, 255, 255)),
        Odd("grey and half alpha", encoded(Image.new("LA", (4, 4), (0, 128)), "PNG"), (127, 127, 127), tolerance=1),
        Odd("palette", encoded(palette, "PNG"), (10, 200, 30)),
        Odd("palette, clear", encoded(palette, "PNG", transparency=1), (255, 255, 255)),
        Odd("palette, half clear", encoded(palette, "PNG", transparency=b"\xff\x80"), (132, 227, 142), tolerance=1),
        Odd("grey, one shade clear", png((1, 1), 8, 0, b"\0\x05", [(b"tRNS", b"\0\x05")]), (255, 255, 255)),
        Odd("one colour clear", png((1, 1), 8, 2, b"\0\1\2\3", [(b"tRNS", b"\0\1\0\2\0\3")]), (255, 255, 255)),
        Odd("turned by exif", turned(6), (200, 0, 0), (5, 3), 4),
        Odd("mirrored by exif", turned(2), (200, 0, 0), (5, 3), 4),
        Odd("profile of another space", encoded(red, "PNG", icc_profile=profile), (200, 0, 0)),
        Odd("profile that is none", encoded(red, "PNG", icc_profile=b"\0" * 50), (200, 0, 0)),
        Odd("exif that is none", encoded(red, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), (200, 0, 0)),
        Odd("garbage behind", photo + b"garbage" * 1000, first, tolerance=255),
        Odd("garbage behind the png", lossless + b"<script>", first),
        Odd(
            "text of a gigabyte",
            png((1, 1), 8, 0, b"\0\7", [(b"zTXt", b"k\0\0" + zlib.compress(bytes(9**8)))]),
            "corrupt",
        ),
        Odd("nothing", None, "missing"),
        Odd("empty", b"", "missing"),
        Odd("one byte", b"\xff", "corrupt"),
        Odd("html", b"<!DOCTYPE html><html><body>404</body></html>", "corrupt"),
        Odd("svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "corrupt"),
        Odd("gif", encoded(red, "GIF"), "corrupt"),
        Odd("bmp", encoded(red, "BMP"), "corrupt"),
        Odd("tiff", encoded(red, "TIFF"), "corrupt"),
        Odd("ico", encoded(Image.new("RGB", (16, 16)), "ICO"), "corrupt"),
        Odd("jpeg 2000", encoded(red, "JPEG2000"), "corrupt"),
        Odd("avif", encoded(red, "AVIF"), "corrupt"),
        Odd("animated gif", animation("GIF"), "corrupt"),
        Odd("animated webp", animation("WEBP"), "unsupported"),
        Odd("animated png", animation("PNG"), "unsupported"),
        Odd("two pictures in a jpeg", animation("MPO"), "unsupported"),
        Odd("jpeg cut short", photo[: len(photo) * 2 // 3], "corrupt"),
        Odd("png cut short", lossless[: len(lossless) * 2 // 3], "corrupt"),
        Odd("webp cut short", webp[: len(webp) * 2 // 3], "corrupt"),
        Odd("jpeg header alone", photo[:200], "corrupt"),
        Odd("png without pixels", png((4, 4), 8, 2, b""), "corrupt"),
        Odd("png with a wrong checksum", lossless[:40] + b"\xff\xff" + lossless[42:], "corrupt"),
        Odd("no height", png((4, 0), 8, 2, b""), "corrupt"),
        Odd("144 megapixels", bomb(12_000), "too_large"),
        Odd("400 megapixels", bomb(20_000), "too_large"),
        Odd("4 gigapixels by header", png((65_535, 65_535), 8, 2, b"\0"), "too_large"),
        Odd("just above the cap", encoded(Image.new("1", (5001, 5000)), "PNG"), "too_large"),
        Odd("twenty megabytes and one", b"\xff" * 20_000_001, "too_large"),
    ]
