"""Puts a stock service on its own loopback address: where it listens, and where the names that it calls lead.

Cornserve's entry points listen on every address with fixed ports and call each other by the names of Kubernetes
Services. Both are changed in the libraries under them, before any of Cornserve's modules is imported.
"""

from __future__ import annotations

import itertools
import socket
from typing import Any

import grpc.aio
import uvicorn

from .launch import Launch


def install(launch: Launch) -> None:
    """Change uvicorn, grpc.aio and name resolution of this process. Called once, before Cornserve is imported."""
    _listen_on(launch.address)
    _lead_names(launch)


def _listen_on(own: str) -> None:
    class LoopbackConfig(uvicorn.Config):
        def __init__(self, app: Any, host: str = "", port: int = 8000, **more: Any) -> None:
            super().__init__(app, host=own, port=port, **more)

    uvicorn.Config = LoopbackConfig

    create = grpc.aio.server

    def server(*args: Any, **more: Any) -> grpc.aio.Server:
        created = create(*args, **more)
        add = created.add_insecure_port

        def add_insecure_port(address: str) -> int:
            return add(f"{own}:{address.rpartition(':')[2]}")

        created.add_insecure_port = add_insecure_port
        return created

    grpc.aio.server = server


def _lead_names(launch: Launch) -> None:
    outside, inside = launch.address_map
    turns = {name: itertools.cycle(range(len(found))) for name, found in launch.names.items()}

    def addresses(name: str) -> list[str]:
        if name.startswith("tm-"):
            name = "task-manager"
        if name.startswith(outside):
            return [inside + name.removeprefix(outside)]
        if name in launch.names:
            # As a Service does: each new connection goes to the next replica.
            found, turn = launch.names[name], next(turns[name])
            return [*found[turn:], *found[:turn]]
        return [launch.stand_in]

    open_channel = grpc.aio.insecure_channel

    def insecure_channel(target: str, *args: Any, **more: Any) -> grpc.aio.Channel:
        name, _, port = target.rpartition(":")
        return open_channel(f"{addresses(name)[0]}:{port}", *args, **more)

    grpc.aio.insecure_channel = insecure_channel

    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **more: Any) -> Any:
        if host in launch.names or str(host).startswith("te-"):
            return [info for address in addresses(host) for info in resolve(address, *args, **more)]
        return resolve(host, *args, **more)

    socket.getaddrinfo = getaddrinfo
