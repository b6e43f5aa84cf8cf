"""Loopback addresses: a block of 254 for each fleet, so that every service keeps Cornserve's fixed ports."""

from __future__ import annotations

import random
import socket

HTTP_PORT, GRPC_PORT = 8000, 50051

OUTSIDE = "198.51.100."
"""Endpoints objects refuse 127/8. This block is kept for documentation (RFC 5737): nothing else can be there."""

_ATTEMPTS = 50


def free_block() -> str:
    """The prefix of a block that nobody listens in, such as ``127.201.17.``.

    Raises OSError where none is found.
    """
    for _ in range(_ATTEMPTS):
        block = f"127.{random.randrange(130, 250)}.{random.randrange(256)}."
        if all(is_free(f"{block}1", port) for port in (HTTP_PORT, GRPC_PORT)):
            return block
    raise OSError(f"no free block of loopback addresses after {_ATTEMPTS} attempts")


def is_free(address: str, port: int) -> bool:
    """Tell whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((address, port))
        except OSError:
            return False
        return True
