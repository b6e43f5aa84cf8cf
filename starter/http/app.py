"""The endpoint as an app of its own."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, cast

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from starter.client import TaskrollClient
from starter.settings import Flags, Settings, resolve

from .problems import problem_of
from .router import MAX_BODY_BYTES, create_router
from .tokens import Authentication, read_authentication

_DESCRIPTION = (
    "Update deployed task definitions: every service on the same version, or none of them moved. "
    "Errors are `application/problem+json` with a stable `code`."
)


def create_app(
    settings: Settings | None = None,
    authentication: Authentication | None = None,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> FastAPI:
    """The app, also as a factory: ``uvicorn --factory starter.http.app:create_app``.

    Args:
        settings: None reads them from the environment.
        authentication: None reads the tokens from the environment. Without any, only this machine is served.
        max_body_bytes: A longer body is answered 413.

    Raises:
        InvalidRequest: for a variable or a token file that is wrong.
    """
    chosen = settings or resolve(Flags())
    client = TaskrollClient(chosen)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await client.close()

    async def get_client(request: Request) -> TaskrollClient:
        return client

    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    async def on_http_error(request: Request, error: Exception) -> Response:
        return problem_of(request, error)

    app = FastAPI(
        title="taskroll",
        version=version("taskroll"),
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
    )
    app.include_router(
        create_router(get_client, authentication or read_authentication(), max_body_bytes=max_body_bytes)
    )
    app.add_api_route("/healthz", healthz, methods=["GET"], tags=["process"], summary="The process answers.")
    # Unknown routes and methods never reach a route of ours.
    app.add_exception_handler(HTTPException, cast(Any, on_http_error))
    app.add_exception_handler(Exception, cast(Any, on_http_error))
    return app
