"""JSON that carries a digest of itself, so that any change of its content is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: Key of the digest.
SEAL = "digest"


def digest_of(content: Any) -> str:
    """Digest of bytes, 16 hexadecimal digits (BLAKE2b, 8 bytes)."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def canonical(content: Any) -> bytes:
    """The one way to write this content as JSON."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with the digest of all of it."""
    return {**content, SEAL: hashlib.blake2b(canonical(content), digest_size=16).hexdigest()}


def unsealed(content: Any) -> dict[str, Any]:
    """The content without its digest.

    Raises
    ------
    ValueError
        It is no JSON object, or not what was sealed.
    """
    if isinstance(content, bytes):
        content = from_json(content)
    if not isinstance(content, dict) or SEAL not in content:
        raise ValueError("it has no digest of itself")
    kept = {key: value for key, value in content.items() if key != SEAL}
    if sealed(kept)[SEAL] != content[SEAL]:
        raise ValueError("its content does not match its digest")
    return kept


def from_json(content: bytes) -> Any:
    """The value of JSON text.

    Raises
    ------
    ValueError
        It is none, or nested too deep.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deep") from None
