"""Ports on the loopback interface: the usual ones when free, else others, the same again after a restart."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

LOOPBACK = "127.0.0.1"

DEFAULT_PORTS: dict[str, int] = {
    "temporal": 7233,
    "temporal-ui": 8233,
    "temporal-http": 7243,
    "temporal-metrics": 9233,
    "kube": 6443,
    "etcd": 2379,
}
# Neighbours are tried before the system is asked: its choice lies in the range of outgoing connections, where another
# program may sit on the port at the next start.
_STEP, _STEPS = 100, 20


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As Go's listeners do: a port whose old connections are still in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def pick_ports(preferred: Mapping[str, int]) -> dict[str, int]:
    """Give each name its preferred port, or else a free one near it, never the same port twice."""
    chosen: dict[str, int] = {}
    for name, wanted in preferred.items():
        chosen[name] = next(
            port for port in _candidates(wanted) if port not in chosen.values() and (port == 0 or is_free(port))
        )
        if chosen[name] == 0:
            chosen[name] = _system_choice()
    return chosen


def _candidates(wanted: int) -> Iterator[int]:
    yield from (port for port in range(wanted, wanted + _STEP * _STEPS, _STEP) if port < 65536)
    yield 0


def _system_choice() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def remembered_ports(path: Path) -> dict[str, int]:
    """Return the defaults, overridden by the ports that this data folder had the last time."""
    try:
        stored = TypeAdapter(dict[str, int]).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        stored = {}
    return {name: stored.get(name, port) for name, port in DEFAULT_PORTS.items()}


def remember_ports(path: Path, ports: Mapping[str, int]) -> None:
    """Keep the ports for the next start on the same data folder."""
    path.write_text(json.dumps(dict(ports), indent=2) + "\n")
