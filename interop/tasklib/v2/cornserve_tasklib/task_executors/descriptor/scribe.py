"""How the scribe is run."""

from typing import Any, ClassVar

import aiohttp
from cornserve.services.resource import GPU
from cornserve.task_executors.descriptor.base import TaskExecutionDescriptor

from cornserve_tasklib.task.unit.scribe import ScribeInput, ScribeOutput, ScribeTask


class ScribeDescriptor(TaskExecutionDescriptor[ScribeTask, ScribeInput, ScribeOutput]):
    """Sends every field of the task, and the versions of the classes in the dispatcher."""

    version: ClassVar[int] = 2

    def create_executor_name(self) -> str:
        return f"scribe-{self.task.model_id}"

    def get_container_image(self) -> str:
        return "example/scribe"

    def get_container_args(self, gpus: list[GPU], port: int) -> list[str]:
        return [f"--port={port}"]

    def get_api_url(self, base: str) -> str:
        return f"{base}/execute"

    def to_request(self, task_input: ScribeInput, task_output: ScribeOutput) -> dict[str, Any]:
        return {
            "descriptor": self.version,
            "unit": self.task.version,
            "asked_by": task_input.asked_by,
            "recorded_by": task_output.recorded_by,
            "text": task_input.text,
            "model_id": self.task.model_id,
            "tone": self.task.tone,
        }

    async def from_response(self, task_output: ScribeOutput, response: aiohttp.ClientResponse) -> ScribeOutput:
        answer = await response.json()
        return task_output.model_copy(update={"received": answer["received"]})
