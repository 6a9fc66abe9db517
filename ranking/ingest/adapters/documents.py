"""JSON files of objects, an array of them or one after another, read piece by piece: never a whole file at once.
Says nothing about what the objects mean.
"""

import io
import json
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ranking.errors import SourceError
from ranking.ingest.sources import SourceFile

BATCH_ROWS: Final = 8_192
MAX_OBJECT: Final = 4_000_000  # characters; published rows have a few hundred
_CHUNK: Final = 1_000_000
_BATCH_CHARACTERS: Final = 16_000_000
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_LONGEST_INTEGER: Final = 18  # digits that fit 64 bits


@dataclass(frozen=True)
class Documents:
    """Objects of a file and their numbers in it from 0 (int64)."""

    rows: pa.Array
    objects: list[dict[str, Any]]

    def text(self, name: str) -> pa.Array:
        """A field as strings: whole numbers as digits, null for what is neither."""
        return pa.array([as_text(item.get(name)) for item in self.objects], pa.string())

    def number(self, name: str) -> pa.Array:
        """A field as float64, null for what is no number."""
        return pa.array([as_number(item.get(name)) for item in self.objects], pa.float64())

    def texts(self, name: str, size: int) -> list[pa.Array]:
        """A field that should be a list of `size` strings, place by place; null for lists of other sizes."""
        return self._places(name, size, as_text, pa.string())

    def numbers(self, name: str, size: int) -> list[pa.Array]:
        """A field that should be a list of `size` numbers, place by place; null for lists of other sizes."""
        return self._places(name, size, as_number, pa.float64())

    def _places(self, name: str, size: int, convert: Callable[[Any], Any], kind: pa.DataType) -> list[pa.Array]:
        lists = [as_list(item.get(name)) for item in self.objects]
        whole = [values if len(values) == size else [None] * size for values in lists]
        return [pa.array([convert(values[place]) for values in whole], kind) for place in range(size)]


def as_text(value: object) -> str | None:
    """A string, or a whole number's digits; None for anything else and for text that is no Unicode."""
    if isinstance(value, str):
        # JSON may spell half a surrogate pair; nothing can store that.
        return value if value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value) else None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def as_number(value: object) -> float | None:
    """A number as a float; None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def as_list(value: object) -> list[Any]:
    """A list; empty for anything else."""
    return value if isinstance(value, list) else []


def documents(file: SourceFile) -> Iterator[Documents]:
    """The file's objects in batches of at most 8,192. SourceError, with the number of the object, if the file is not
    UTF-8 or not JSON, ends early, or holds something that is not an object or is longer than 4 million characters.
    """
    objects: list[dict[str, Any]] = []
    first = size = 0
    for item, length in _items(file):
        objects.append(item)
        size += length
        if len(objects) == BATCH_ROWS or size >= _BATCH_CHARACTERS:
            yield _batch(first, objects)
            first += len(objects)
            objects, size = [], 0
    if objects:
        yield _batch(first, objects)


def first_object(file: SourceFile) -> dict[str, Any] | str:
    """The file's first object, or in a few words why there is none."""
    items = _items(file)
    try:
        return next(items)[0]
    except StopIteration:
        return "it has no rows"
    except SourceError:
        return "it does not begin as JSON objects do"
    finally:
        items.close()


def _batch(first: int, objects: list[dict[str, Any]]) -> Documents:
    return Documents(pa.array(np.arange(first, first + len(objects), dtype=np.int64)), objects)


def _items(file: SourceFile) -> Generator[tuple[dict[str, Any], int], None, None]:
    number = 0
    try:
        with file.open() as handle, io.TextIOWrapper(handle, encoding="utf-8-sig", newline="") as text:
            for item in _Scanner(text).items():
                yield item
                number += 1
    except (ValueError, OSError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise SourceError(
            f"source {file.uri} cannot be read as JSON at row {number} ({why})",
            code="source-not-json",
            hint="check the file",
        ) from error


class _Scanner:
    """Finds the objects of a text of which only a window is in memory."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self._window = ""
        self._at = 0
        self._decoder = json.JSONDecoder(parse_int=_integer)

    def items(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Each object with its length in characters. ValueError for text that is not such."""
        array = self._next() == "["
        if array:
            self._at += 1
            if self._next() == "]":
                self._at += 1
                self._end()
                return
        while self._next():
            yield self._object()
            if array:
                separator = self._next()
                self._at += 1
                if separator == "]":
                    self._end()
                    return
                if separator != ",":
                    raise ValueError("the array ends early" if not separator else "a comma is missing")
        if array:
            raise ValueError("the array ends early")

    def _next(self) -> str:
        """The next character that is not space, or "" at the end."""
        while True:
            space = _SPACE.match(self._window, self._at)
            assert space is not None, "the pattern matches nothing at all"
            self._at = space.end()
            if self._at < len(self._window):
                return self._window[self._at]
            if not self._read(_CHUNK):
                return ""

    def _object(self) -> tuple[dict[str, Any], int]:
        if self._window[self._at] != "{":
            raise ValueError("it is not an object")
        while True:
            try:
                found, end = self._decoder.raw_decode(self._window, self._at)
            except json.JSONDecodeError as error:
                # Perhaps it only goes on beyond the window. Twice as much each time keeps this linear.
                known = len(self._window) - self._at
                if known > MAX_OBJECT:
                    raise ValueError(f"it has more than {MAX_OBJECT} characters, or {error.msg}") from error
                if not self._read(max(_CHUNK, known)):
                    raise ValueError(error.msg) from error
            else:
                length = end - self._at
                self._at = end
                return found, length

    def _read(self, characters: int) -> bool:
        more = self._text.read(characters)
        self._window = self._window[self._at :] + more
        self._at = 0
        return bool(more)

    def _end(self) -> None:
        if self._next():
            raise ValueError("something follows the array")


def _integer(digits: str) -> int | float:
    # Python refuses to read thousands of digits as one whole number; as a float they are just infinite.
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)
