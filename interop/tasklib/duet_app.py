"""An app of one composite task, as it is registered with the gateway."""

from cornserve.app.base import AppConfig
from pydantic import BaseModel

from cornserve_tasklib.task.composite.duet import DuetInput, DuetTask


class Request(BaseModel):
    """What to write."""

    text: str


class Response(BaseModel):
    """Which versions took part, and what the executors received.

    Built-in types alone: the gateway runs an app's source with postponed annotations, in no module that pydantic could
    look other names up in.
    """

    version: int
    recorded_by: list[int]
    received: list[dict]


class Config(AppConfig):
    """The app's tasks."""

    tasks = {"duet": DuetTask()}


async def serve(request: Request) -> Response:
    """Have it written by both."""
    written = await Config.tasks["duet"](DuetInput(text=request.text))
    return Response(version=written.version, recorded_by=written.recorded_by, received=written.received)
