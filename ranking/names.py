"""Names, hashes, canonical JSON and the clock's text form: the spelling rules every key in the store
follows."""

import hashlib
import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ranking.errors import StoreError, UsageError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FINGERPRINT = re.compile(r"[0-9a-f]{8,64}")
_HEX_ID = re.compile(r"[0-9a-f]{12,64}")
# A store may be copied to a Windows disk, where these names are devices whatever their ending.
_DEVICES = {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))}


def check_name(kind: str, value: str) -> str:
    """`value` itself if it may name a dataset, subset, scorer or schedule; else UsageError naming the
    `kind`."""
    if not isinstance(value, str) or not NAME.fullmatch(value) or value.split(".")[0] in _DEVICES:
        raise UsageError(
            f"{kind} name {value!r} is not allowed",
            code="bad-name",
            hint="use 1 to 64 of a-z 0-9 . _ - and begin with a letter or digit",
        )
    return value


def check_id(kind: str, value: str) -> str:
    """`value` itself if it is a hash id as we make them (12 to 64 hex digits); else UsageError."""
    if not isinstance(value, str) or not _HEX_ID.fullmatch(value):
        raise UsageError(f"{kind} id {value!r} is not one of ours", code="bad-name", hint="use an id as listed")
    return value


def check_scorer_id(value: str) -> str:
    """`value` itself if it reads name@fingerprint, the fingerprint 8 to 64 hex digits; else UsageError."""
    name, at, fingerprint = value.partition("@") if isinstance(value, str) else ("", "", "")
    if not at or not _FINGERPRINT.fullmatch(fingerprint):
        raise UsageError(
            f"scorer id {value!r} is not name@fingerprint", code="bad-name", hint="`pairsieve scorers` lists them"
        )
    check_name("scorer", name)
    return value


def scorer_name(scorer_id: str) -> str:
    """The name part of a scorer id."""
    return check_scorer_id(scorer_id).partition("@")[0]


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: equal values give equal bytes. Refuses NaN and
    infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def nulls_for_nan(value: Any) -> Any:
    """A value for `canonical_json` with None in place of every NaN and infinity; tuples become lists."""
    if isinstance(value, dict):
        return {key: nulls_for_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [nulls_for_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_json(data: bytes, *, where: str) -> Any:
    """The value of JSON bytes that the store holds at `where`; StoreError if they are damaged."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise StoreError(f"{where} is not valid JSON ({error})", hint="restore it from a backup") from error


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of `data` as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes as 64 hex digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def utc_now() -> str:
    """The current time as ISO 8601 text in UTC with microseconds. Sorts as time does; never part of a
    hash."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
