"""The bearer tokens that callers of an agent show."""

import hmac
import logging
from pathlib import Path

from .errors import SettingsError
from .settings import PREFIX, AgentSettings

_log = logging.getLogger(__name__)


class Tokens:
    """Accepts any of the tokens of the settings; those of the file are read again when it changes."""

    def __init__(self, settings: AgentSettings) -> None:
        """Raises `SettingsError` where there is no token and `insecure` is not set: an open agent must be meant."""
        self._insecure = settings.insecure
        self._fixed = tuple(token.strip() for token in (settings.token or "").split(",") if token.strip())
        self._file: Path | None = settings.token_file
        self._stamp: tuple[int, int] | None = None
        self._from_file: tuple[str, ...] = ()
        self._read_file()
        if not self._insecure and not self._fixed and not self._from_file:
            raise SettingsError(
                f"no token: set {PREFIX}TOKEN or {PREFIX}TOKEN_FILE, or {PREFIX}INSECURE=1 to answer anyone"
            )

    def accepts(self, authorization: str | None) -> bool:
        """Whether this ``Authorization`` header lets the caller in. Takes the same time for every wrong token."""
        if self._insecure:
            return True
        self._read_file()
        scheme, _, shown = (authorization or "").partition(" ")
        given = shown.strip().encode()
        matches = [hmac.compare_digest(given, token.encode()) for token in (*self._fixed, *self._from_file)]
        return scheme.lower() == "bearer" and any(matches)

    def _read_file(self) -> None:
        if self._file is None:
            return
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                lines = self._file.read_text().splitlines()
                self._from_file = tuple(line.strip() for line in lines if line.strip())
                self._stamp = stamp
        except OSError as error:
            # While a file is replaced it may be absent for a moment: the tokens known so far stay good.
            _log.warning("token file: %s", error.strerror)
