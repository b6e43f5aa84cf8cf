"""Who may use the endpoint: bearer tokens, or nobody but this machine."""

import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from starlette.requests import HTTPConnection

from taskroll.models.errors import InvalidRequest

from .problems import Unauthenticated

TOKENS_VARIABLE = "TASKROLL_HTTP_TOKEN"
FILE_VARIABLE = "TASKROLL_HTTP_TOKEN_FILE"
MIN_LENGTH = 16
"""Of a token, in characters: a short one could be guessed."""

# RFC 6750: what can stand after «Bearer».
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}


class Authentication(Protocol):
    """Lets a request pass or refuses it."""

    def check(self, connection: HTTPConnection) -> None:
        """Raises `Unauthenticated` where the request may not pass."""
        ...


class BearerTokens:
    """Any of these tokens, in the header ``Authorization: Bearer …``."""

    def __init__(self, tokens: list[str]) -> None:
        """Take over the tokens.

        Raises:
            InvalidRequest: where there is none, or one is too short or cannot stand in a header. Never names a token.
        """
        if not tokens:
            raise InvalidRequest("no bearer token: give at least one")
        for number, token in enumerate(tokens, start=1):
            if len(token) < MIN_LENGTH:
                raise InvalidRequest(
                    f"bearer token {number} has {len(token)} characters; {MIN_LENGTH} at least are needed"
                )
            if not _TOKEN.fullmatch(token):
                raise InvalidRequest(
                    f"bearer token {number} holds characters that a header cannot carry; use letters, digits and -._~+/"
                )
        self._tokens = [token.encode() for token in tokens]

    def check(self, connection: HTTPConnection) -> None:
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            raise Unauthenticated("a bearer token is needed: send it in the header Authorization: Bearer TOKEN")
        sent = given.strip().encode()
        # All of them are compared, each in constant time: the time taken tells nothing about any.
        if sum(hmac.compare_digest(sent, token) for token in self._tokens) == 0:
            raise Unauthenticated("the bearer token is not one that is accepted here", is_wrong=True)


class LoopbackOnly:
    """No token, but only for this machine: by address, and by name, so that no web page gets here by its own name."""

    def check(self, connection: HTTPConnection) -> None:
        server = connection.scope.get("server")
        ends = [end[0] for end in (server, connection.scope.get("client")) if end]
        if not all(is_loopback(end) for end in ends) or not ends:
            raise Unauthenticated(
                f"no bearer token is set up, so only this machine is served: set {TOKENS_VARIABLE} or {FILE_VARIABLE}"
            )
        host = connection.headers.get("host", "")
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        if name.strip("[]").lower() not in _LOCAL_NAMES:
            raise Unauthenticated("no bearer token is set up, so only requests to localhost are served")


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_authentication(token_file: Path | None = None, environ: Mapping[str, str] = os.environ) -> Authentication:
    """Tokens of the file, else of ``TASKROLL_HTTP_TOKEN_FILE``, and of ``TASKROLL_HTTP_TOKEN``; none: loopback only.

    A file has a token per line; empty lines and those that begin with ``#`` are passed over. The variable holds one, or
    several with commas or spaces between them.

    Raises:
        InvalidRequest: a file that cannot be read or has no token, or a token that is none.
    """
    tokens = re.split(r"[\s,]+", environ.get(TOKENS_VARIABLE, "").strip())
    named = str(token_file) if token_file else environ.get(FILE_VARIABLE)
    if named:
        tokens += _read_tokens(Path(named))
    tokens = [token for token in tokens if token]
    return BearerTokens(tokens) if tokens else LoopbackOnly()


def _read_tokens(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"token file {str(path)!r} cannot be read: {error}") from error
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise InvalidRequest(f"token file {str(path)!r} holds no token: write one per line")
    return tokens
