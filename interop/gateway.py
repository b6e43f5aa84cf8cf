"""What a developer asks of Cornserve's gateway."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from taskroll_agent.contracts import DefinitionContent


class GatewayRefused(RuntimeError):
    """The gateway answered with an error. The message is its own."""


@dataclass
class Gateway:
    """The calls of Cornserve 0.1.0's gateway. Each raises GatewayRefused where it does not answer 200."""

    client: httpx.AsyncClient

    async def deploy(self, definitions: Iterable[DefinitionContent]) -> None:
        """`POST /deploy-tasks`: definitions that exist already are passed over, also where they differ."""
        tasks: list[dict[str, Any]] = []
        descriptors: list[dict[str, Any]] = []
        for definition in definitions:
            common = {
                "source_b64": definition.spec["sourceCode"],
                "module_name": definition.module,
                "task_class_name": definition.task_class_name,
            }
            if definition.kind == "TaskDefinition":
                is_unit = definition.spec["isUnitTask"]
                tasks.append({**common, "task_definition_name": definition.name, "is_unit_task": is_unit})
            else:
                named = {"descriptor_class_name": definition.class_name, "descriptor_definition_name": definition.name}
                descriptors.append({**common, **named})
        await self._post("/deploy-tasks", {"task_definitions": tasks, "descriptor_definitions": descriptors})

    async def register(self, source: str) -> str:
        """Register an app and wait until its tasks are deployed; return its id."""
        answer = await self._post("/app/register", {"source_code": source})
        events = [json.loads(line.removeprefix("data: "))["event"] for line in answer.text.splitlines() if line]
        if events[-1]["type"] != "final":
            raise GatewayRefused(events[-1]["message"])
        return str(events[0]["app_id"])

    async def unregister(self, app: str) -> None:
        await self._post(f"/app/unregister/{app}", None)

    async def apps(self) -> dict[str, str]:
        """App id → `ready` or `not ready`."""
        return dict((await self._checked(await self.client.get("/app/list"))).json())

    async def invoke(self, app: str, **request: Any) -> Any:
        """Call the app; return its response."""
        return (await self._post(f"/app/invoke/{app}", {"request_data": request})).json()

    async def tasks(self) -> list[tuple[dict[str, Any], str, str]]:
        """The deployed unit tasks: fields, id, state."""
        return [tuple(item) for item in (await self._checked(await self.client.get("/tasks/list"))).json()]

    async def scale(self, task_id: str, gpus: int) -> None:
        """Give a deployed unit task so many GPUs more, and an executor with them."""
        await self._post("/task/scale", {"task_id": task_id, "num_gpus": gpus})

    async def use(self, class_name: str, **fields: Any) -> None:
        """Have a unit task deployed, as the cheapest way to an instance."""
        await self._usage("POST", class_name, fields)

    async def stop_using(self, class_name: str, **fields: Any) -> None:
        """The reverse of `use`."""
        await self._usage("DELETE", class_name, fields)

    async def _usage(self, method: str, class_name: str, fields: dict[str, Any]) -> None:
        body = {"_task_list": [{"class_name": class_name, "task": json.dumps(fields)}]}
        await self._checked(await self.client.request(method, "/tasks/usage", json=body))

    async def _post(self, path: str, body: Any) -> httpx.Response:
        return await self._checked(await self.client.post(path, json=body))

    async def _checked(self, answer: httpx.Response) -> httpx.Response:
        if answer.status_code != 200:
            raise GatewayRefused(
                f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}"
            )
        return answer


@dataclass
class Executor:
    """The stand-in that executes every unit task: what it received, and whether it answers."""

    client: httpx.AsyncClient

    async def received(self) -> list[dict[str, Any]]:
        """The requests since the start or `forget`, oldest first."""
        return list((await self.client.get("/control/received")).json())

    async def forget(self) -> None:
        await self.client.delete("/control/received")

    async def hold(self) -> None:
        """Take requests but answer none until `release`."""
        await self.client.put("/control/hold")

    async def release(self) -> None:
        await self.client.delete("/control/hold")

    async def waiting(self) -> int:
        """How many requests it has not answered yet."""
        return int((await self.client.get("/control/waiting")).json())
