"""Request ids for those who bring none: readable, sortable by time, and unique."""

import re
import secrets
from datetime import datetime

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without those that look alike."""
MAX_STEM = 36


def new_request_id(stem: str, now: datetime) -> str:
    """``<stem>-<yyyymmdd>-<hhmmss>-<five random characters>``, in the form that `RequestId` asks for."""
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:MAX_STEM].strip("-") or "update"
    unique = "".join(secrets.choice(_LETTERS) for _ in range(5))
    return f"{name}-{now:%Y%m%d-%H%M%S}-{unique}"
