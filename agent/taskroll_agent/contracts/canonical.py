"""The canonical form under every digest: JSON Canonicalization Scheme (RFC 8785), so that anyone can recompute one."""

import hashlib
from typing import Any

import rfc8785


def canonical_json(value: Any) -> bytes:
    """Return the RFC 8785 form of a JSON value.

    Raises:
        rfc8785.CanonicalizationError: for values that JSON cannot carry exactly, such as NaN or integers over 2**53.
    """
    return rfc8785.dumps(value)


def sha256_digest(value: Any) -> str:
    """Return ``sha256:<64 hex digits>`` over the canonical form of a JSON value."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()
