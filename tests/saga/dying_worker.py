"""A worker process that kills itself, with SIGKILL, at one step of the saga; started again, it works as any other."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from taskroll.services.configuration_file import parse_services
from worker import logs
from worker.settings import WorkerSettings
from worker.wiring import connect, create_worker

from .world import services_config


class Death(Interceptor):
    """Dies at the given step and moment, unless the marker says that it did before."""

    def __init__(self, step: str, moment: str, marker: Path) -> None:
        self.step, self.moment, self.marker = step, moment, marker

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _DyingActivity(next, self)

    def strike(self, step: str, moment: str) -> None:
        if (step, moment) == (self.step, self.moment) and not self.marker.exists():
            self.marker.write_text("died")
            os.kill(os.getpid(), signal.SIGKILL)


class _DyingActivity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, death: Death) -> None:
        super().__init__(next)
        self._death = death

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        step = activity.info().activity_type
        self._death.strike(step, "before")
        result = await super().execute_activity(input)
        self._death.strike(step, "after")
        return result


async def run(arguments: dict[str, str]) -> None:
    logs.configure("json", "INFO")
    settings = WorkerSettings(
        task_queue=arguments["task_queue"],
        temporal_address=arguments["temporal_address"],
        kubeconfig=Path(arguments["kubeconfig"]),
        context="taskroll",
        graceful_shutdown_timeout=0,
    )
    death = Death(arguments["step"], arguments["moment"], Path(arguments["marker"]))
    services = (
        parse_services(arguments["services"], "services of the tests")
        if "services" in arguments
        else services_config(arguments["token_variable"], gateway_url=arguments.get("gateway_url"))
    )
    async with (
        connect(settings, services) as connections,
        create_worker(connections, settings, interceptors=[death]),
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
