"""Signed page cursors: opaque to clients, bound to one query on one snapshot. Not where the query is
built."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any, Final

from ranking.errors import StoreError
from ranking.names import canonical_json
from ranking.store.blobs import Store
from service.problems import ApiProblem

KEY: Final = "keys/cursors"
_MAC_BYTES: Final = 16
_LONGEST: Final = 4096


def cursor_key(store: Store) -> bytes:
    """The store's signing key: 32 random bytes that only the owner may read, made by whoever asks first."""
    if not store.exists(KEY):
        # Not put_if_absent: the file must never have been readable by others.
        path = store.tmp() / secrets.token_hex(16)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        store.put_file(KEY, Path(path))
    key = store.get(KEY)
    if len(key) != 32:
        raise StoreError(f"{KEY} is damaged", code="damaged", hint="delete it; cursors in use will then be refused")
    return key


def sign(key: bytes, query: Any, position: Any) -> str:
    """The cursor that says: this `query` (JSON: snapshot, filters, sort …) goes on after `position`
    (JSON)."""
    body = canonical_json(position)
    return _encode(body + _mac(key, query, body))


def verify(key: bytes, query: Any, cursor: str) -> Any:
    """The position in a cursor that we made for this very query; ApiProblem cursor-mismatch otherwise."""
    raw = _decode(cursor)
    body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, query, body)):
        raise _mismatch()
    return json.loads(body)


def _mac(key: bytes, query: Any, body: bytes) -> bytes:
    # The query is hashed first, so that no byte of it can pass for a byte of the position.
    bound = hashlib.sha256(canonical_json(query)).digest()
    return hmac.new(key, bound + body, hashlib.sha256).digest()[:_MAC_BYTES]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(cursor: str) -> bytes:
    if len(cursor) > _LONGEST or not cursor.isascii():
        raise _mismatch()
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError as error:
        raise _mismatch() from error
    # Base64 has several spellings of some bytes; only ours is accepted.
    if len(raw) <= _MAC_BYTES or _encode(raw) != cursor:
        raise _mismatch()
    return raw


def _mismatch() -> ApiProblem:
    return ApiProblem(
        "cursor-mismatch",
        "This cursor was made for another query or snapshot, or was changed; start again without it.",
    )
