"""The update endpoint as a router: for an app of its own, or to mount in a platform's gateway."""

from typing import Any

from fastapi import APIRouter, Security
from fastapi.security import HTTPBearer

from . import handlers
from .answers import SubmissionAnswer
from .guarded_route import GetClient, guarded_route
from .problems import problem_responses
from .tokens import Authentication

MAX_BODY_BYTES = 16 * 1024 * 1024

_ENDED_BEFORE: dict[int | str, dict[str, Any]] = {
    200: {"model": SubmissionAnswer, "description": "The same request had been sent before, and its update has ended"}
}


def create_router(
    get_client: GetClient, authentication: Authentication | None = None, *, max_body_bytes: int = MAX_BODY_BYTES
) -> APIRouter:
    """The routes of the endpoint.

    Args:
        get_client: Gives the client for a request; one for all is what is meant.
        authentication: Who may pass; None lets everybody, for an app that has checked them.
        max_body_bytes: A longer body is answered 413.
    """
    router = APIRouter(
        route_class=guarded_route(get_client, authentication, max_body_bytes),
        # For the documentation only: the route itself checks before anything is read.
        dependencies=[Security(HTTPBearer(auto_error=False, description="One of the endpoint's tokens."))],
        responses=problem_responses(401, 502, 503),
    )
    start = _ENDED_BEFORE | problem_responses(400, 409, 413, 422)
    tell = problem_responses(404, 409, 413, 422)
    ask = problem_responses(422)

    def add(method: str, path: str, handler: Any, status: int, responses: dict[int | str, dict[str, Any]]) -> None:
        name = handlers.UPDATE_ROUTE if handler is handlers.get_update else f"taskroll_{handler.__name__}"
        router.add_api_route(
            path, handler, methods=[method], name=name, operation_id=name, status_code=status, responses=responses
        )

    add("POST", "/task-updates", handlers.create_update, 202, start)
    add("GET", "/task-updates", handlers.list_updates, 200, ask)
    add("GET", "/task-updates/{request_id}", handlers.get_update, 200, problem_responses(404, 422))
    add("GET", "/task-updates/{request_id}/diff", handlers.get_diff, 200, problem_responses(404, 409, 422))
    add("POST", "/task-updates/{request_id}/approve", handlers.approve, 200, tell)
    add("POST", "/task-updates/{request_id}/reject", handlers.reject, 200, tell)
    add("POST", "/task-updates/{request_id}/abort", handlers.abort, 202, tell)
    add("POST", "/task-updates/{request_id}/resume", handlers.resume, 202, tell)
    add("POST", "/task-updates/{request_id}/release-fence", handlers.release_fence, 202, tell)
    add("POST", "/rollbacks", handlers.create_rollback, 202, start)
    add("POST", "/adoptions", handlers.create_adoption, 202, start)
    add("GET", "/releases", handlers.list_releases, 200, ask)
    add("GET", "/doctor", handlers.examine, 200, {})
    add("POST", "/prune", handlers.prune, 200, problem_responses(413, 422))
    return router
