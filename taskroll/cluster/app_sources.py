"""Sources of apps, stored once under the digest of their text: a workflow's history never holds them."""

from __future__ import annotations

from collections.abc import Iterable

from taskroll.models.apps import AppSource, source_digest
from taskroll.models.errors import TamperedState

from .bounded import run_bounded
from .connection import Cluster
from .documents import read_document, write_document


async def write_app_sources(cluster: Cluster, namespace: str, apps: Iterable[AppSource], *, request_id: str) -> None:
    """Store them; those that are stored already stay as they are."""

    async def one(app: AppSource) -> None:
        await write_document(
            cluster,
            namespace,
            type="app-source",
            name=app_source_name(source_digest(app.source)),
            data={"source": app.source},
            request_id=request_id,
        )

    await run_bounded(list(apps), one)


async def read_app_source(cluster: Cluster, namespace: str, digest: str) -> str:
    """The source with that digest.

    Raises:
        NotFound: where it was never stored.
        TamperedState: where what is stored under the name has another digest.
    """
    document = await read_document(cluster, namespace, app_source_name(digest), type="app-source")
    source = str(dict(document.data or {}).get("source", ""))
    if source_digest(source) != digest:
        raise TamperedState(f"ControllerRevision/{app_source_name(digest)} holds no app of digest {digest}")
    return source


def app_source_name(digest: str) -> str:
    """Of the ControllerRevision that stores it."""
    return f"taskroll-app-source-{digest.removeprefix('sha256:')}"
