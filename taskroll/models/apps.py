"""Apps: what a request says of them, and what a controlled shutdown did to one."""

import hashlib
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

AppId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""The platform's id of a registered app. It names objects of the cluster, hence the form."""

MAX_APP_SOURCE = 1_000_000
"""Bytes of an app's source: it is stored in one object, and the API server takes 1.5 MiB."""
MAX_APPS = 200
"""Apps whose sources one request may carry."""


def _storable(source: str) -> str:
    size = len(source.encode())
    if size > MAX_APP_SOURCE:
        raise ValueError(f"has {size:,} bytes, over the limit of {MAX_APP_SOURCE:,}")
    return source


class AppSource(BaseModel):
    """The source of a registered app. The platform does not give it away, so whoever wants the app back sends it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: AppId
    source: Annotated[str, Field(min_length=1), AfterValidator(_storable)]


def source_digest(source: str) -> str:
    """``sha256:…`` of an app's source."""
    return f"sha256:{hashlib.sha256(source.encode()).hexdigest()}"


class StoppedApp(BaseModel):
    """An app that the update unregistered, and what became of it."""

    model_config = ConfigDict(extra="forbid")

    app_id: str
    stopped_at: datetime
    restored_as: str | None = None
    """Its id since it was registered again; the platform makes a new one each time."""
    note: str = ""
    """Why it did not come back."""

    def __str__(self) -> str:
        if self.restored_as is not None:
            return f"{self.app_id} → {self.restored_as}"
        return f"{self.app_id} stopped" + (f", not back: {self.note}" if self.note else "")
