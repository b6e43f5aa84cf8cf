"""What a service is told when it starts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Launch:
    """One process of a fleet.

    Attributes:
        role: `gateway`, `resource-manager`, `task-dispatcher`, `task-manager`, or `stand-in`.
        address: The loopback address that it listens on.
        namespace: The Kubernetes namespace that stands for `cornserve`.
        folder: Its own: task library files, probe socket.
        kube_host: Of the API server.
        kube_port: Of the API server.
        token_file: Bearer token for the API server.
        authority_file: The CA that the API server's certificate chains to.
        names: Addresses behind the names of services, in the order in which they are tried.
        stand_in: Address behind every other name: sidecars, task managers and their executors.
        address_map: Prefix of addresses in Endpoints objects, which refuse loopback, and the prefix that it stands for.
        gpus: How many sidecars the stand-in plays.
    """

    role: str
    address: str
    namespace: str
    folder: str
    kube_host: str
    kube_port: int
    token_file: str
    authority_file: str
    names: dict[str, list[str]]
    stand_in: str
    address_map: tuple[str, str]
    gpus: int

    @classmethod
    def read(cls, path: Path) -> Launch:
        """Read the file that the parent wrote."""
        values: dict[str, Any] = json.loads(path.read_text())
        values["address_map"] = tuple(values["address_map"])
        return cls(**values)
