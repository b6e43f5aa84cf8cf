"""Plays what needs a GPU or a kubelet: sidecars, task managers, and the executors of all unit tasks."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import uvicorn
from fastapi import FastAPI, Request

from .launch import Launch

EXECUTOR_PORT = 8000
KEPT = 100_000


async def serve(launch: Launch) -> None:
    """Serve all of them on one address until the process ends."""
    from cornserve.services.pb import common_pb2, sidecar_pb2, sidecar_pb2_grpc, task_manager_pb2, task_manager_pb2_grpc
    from cornserve.sidecar.constants import GRPC_BASE_PORT

    class Sidecar(sidecar_pb2_grpc.SidecarServicer):
        async def CheckHealth(self, request: Any, context: Any) -> Any:
            return sidecar_pb2.CheckHealthResponse(status=sidecar_pb2.HealthStatus.HEALTH_ALL_GOOD)

    class TaskManager(task_manager_pb2_grpc.TaskManagerServicer):
        async def RegisterTask(self, request: Any, context: Any) -> Any:
            return task_manager_pb2.RegisterTaskResponse(status=common_pb2.Status.STATUS_OK)

        async def UpdateResources(self, request: Any, context: Any) -> Any:
            return task_manager_pb2.UpdateResourcesResponse(status=common_pb2.Status.STATUS_OK)

        async def Shutdown(self, request: Any, context: Any) -> Any:
            return task_manager_pb2.ShutdownResponse(status=common_pb2.Status.STATUS_OK)

        async def SyncTaskRegistry(self, request: Any, context: Any) -> Any:
            # Versions after 0.1.0 ask for it, and only their stubs have the message.
            messages: Any = common_pb2
            return messages.SyncTaskRegistryResponse(status=common_pb2.Status.STATUS_OK)

        async def Healthcheck(self, request: Any, context: Any) -> Any:
            return task_manager_pb2.HealthcheckResponse(status=common_pb2.Status.STATUS_OK)

        async def GetRoute(self, request: Any, context: Any) -> Any:
            return task_manager_pb2.GetRouteResponse(
                task_executor_url=f"http://{launch.address}:{EXECUTOR_PORT}", sidecar_ranks=[0]
            )

    server = grpc.aio.server()
    sidecar_pb2_grpc.add_SidecarServicer_to_server(Sidecar(), server)  # pyright: ignore[reportUnknownMemberType]
    task_manager_pb2_grpc.add_TaskManagerServicer_to_server(TaskManager(), server)  # pyright: ignore[reportUnknownMemberType]
    for port in (50051, *range(GRPC_BASE_PORT, GRPC_BASE_PORT + launch.gpus)):
        server.add_insecure_port(f"{launch.address}:{port}")
    await server.start()
    await uvicorn.Server(uvicorn.Config(executor(), port=EXECUTOR_PORT, access_log=False)).serve()


def executor() -> FastAPI:
    """An executor that keeps each request and answers with its fields. A test may hold its answers back."""
    app = FastAPI()
    received: list[dict[str, Any]] = []
    open_gate = asyncio.Event()
    open_gate.set()
    waiting = 0

    @app.post("/execute")
    async def execute(request: Request) -> dict[str, Any]:
        nonlocal waiting
        body: dict[str, Any] = await request.json()
        if len(received) < KEPT:
            received.append(body)
        waiting += 1
        try:
            await open_gate.wait()
        finally:
            waiting -= 1
        return {"received": body}

    @app.get("/control/received")
    async def kept() -> list[dict[str, Any]]:
        return received

    @app.delete("/control/received")
    async def forget() -> None:
        received.clear()

    @app.put("/control/hold")
    async def hold() -> None:
        open_gate.clear()

    @app.delete("/control/hold")
    async def release() -> None:
        open_gate.set()

    @app.get("/control/waiting")
    async def held() -> int:
        return waiting

    @app.get("/health")
    async def health() -> None:
        return None

    return app
