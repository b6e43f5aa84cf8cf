"""A fleet whose services carry the agent by its adapter, and a world of the saga's tests around it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import yaml

from taskroll.services.configuration import ServicesConfig
from taskroll.services.configuration_file import parse_services
from tests.saga.world import TOKEN_VARIABLE, World, agent_settings

from .environment import LOGS
from .fleet import DISPATCHER, GATEWAY, RESOURCE_MANAGER, STAND_IN, TASK_MANAGER, Fleet
from .service import Service

AGENT_PORT = 21847


def agent_environment(world: World) -> Any:
    """What installs the adapter, for `Fleet(environment=…)`."""
    settings = agent_settings(world.stack, world.namespace)
    common = {f"TASKROLL_AGENT_{name.upper()}": str(value) for name, value in settings.items()}

    def environment(service: Service) -> Mapping[str, str]:
        if service.role == STAND_IN:
            return {}
        return common | {
            "TASKROLL_AGENT_ADAPTER": "cornserve",
            "TASKROLL_AGENT_HOST": service.address,
            "TASKROLL_AGENT_PORT": str(AGENT_PORT),
            "TASKROLL_AGENT_POD": service.pod,
            # The resource manager makes the pods of task managers, and no downward API in them.
            "TASKROLL_AGENT_POD_UID": "" if service.role == TASK_MANAGER else service.pod_uid,
            # As in a real process: a stale bytecode file must not matter.
            "PYTHONDONTWRITEBYTECODE": "",
        }

    return environment


def services_of_cornserve(*, task_managers: bool = False) -> ServicesConfig:
    """Cornserve's services, found by the label of their pods."""
    # None runs while nothing is deployed.
    replicas = {TASK_MANAGER: 0} if task_managers else {}
    return parse_services(
        yaml.safe_dump(
            {
                "services": [
                    {
                        "name": name,
                        "discovery": {"type": "pods", "labels": {"app": name}},
                        "strategy": "agent",
                        "port": AGENT_PORT,
                        "token": {"env": TOKEN_VARIABLE},
                        "min_replicas": replicas.get(name, 1),
                    }
                    for name in (GATEWAY, RESOURCE_MANAGER, DISPATCHER, *replicas)
                ]
            }
        ),
        "services of Cornserve",
    )


@asynccontextmanager
async def adapted_fleet(world: World, *, gpus: int = 8) -> AsyncGenerator[Fleet]:
    """The stock services in the world's namespace, with the agent in each."""
    folder = LOGS / world.namespace
    async with Fleet(world.stack, world.namespace, folder, gpus=gpus, environment=agent_environment(world)) as fleet:
        yield fleet
