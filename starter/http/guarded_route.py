"""A route that checks who asks before it reads, reads no more than it should, and answers errors as problems.

All of it is in the route, not in the app: so it holds as well where a platform's gateway mounts the router.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from starter.client import TaskrollClient

from .problems import BodyTooLarge, problem_of
from .tokens import Authentication

GetClient = Callable[[Request], Awaitable[TaskrollClient]]


def client_of(request: Request) -> TaskrollClient:
    """The client of a guarded route, as a dependency of its handler."""
    return request.state.taskroll_client


def guarded_route(get_client: GetClient, authentication: Authentication | None, max_body_bytes: int) -> type[APIRoute]:
    """The class of routes for a router.

    Args:
        get_client: Gives the client for a request that may pass.
        authentication: None lets everybody pass: the app that mounts the router has checked them.
        max_body_bytes: A longer body is answered 413.
    """

    class LimitedRequest(Request):
        async def stream(self) -> AsyncGenerator[bytes]:
            length = self.headers.get("content-length", "")
            if length.isdigit() and int(length) > max_body_bytes:
                raise BodyTooLarge(max_body_bytes)
            size = 0
            async for chunk in super().stream():
                size += len(chunk)
                if size > max_body_bytes:
                    raise BodyTooLarge(max_body_bytes)
                yield chunk

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                try:
                    if authentication is not None:
                        authentication.check(request)
                    request.state.taskroll_client = await get_client(request)
                    return await handle(LimitedRequest(request.scope, request.receive))
                except Exception as error:  # noqa: BLE001 - the last stop before the client
                    return problem_of(request, error)

            return guarded

    return GuardedRoute
