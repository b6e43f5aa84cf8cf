"""Ports: the usual ones, else near ones, and the same after a restart."""

from __future__ import annotations

import socket
from pathlib import Path

from taskroll.devstack.ports import DEFAULT_PORTS, is_free, pick_ports, remember_ports, remembered_ports


def _free_block() -> int:
    """Return a port that is free with the one 100 above it."""
    return next(port for port in range(20_000, 30_000, 7) if is_free(port) and is_free(port + 100))


def test_free_ports_are_taken_as_wanted() -> None:
    wanted = _free_block()
    assert pick_ports({"temporal": wanted}) == {"temporal": wanted}


def test_taken_port_is_left_for_one_near_it() -> None:
    wanted = _free_block()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", wanted))
        holder.listen()
        assert not is_free(wanted)
        assert pick_ports({"temporal": wanted}) == {"temporal": wanted + 100}


def test_no_port_is_given_twice() -> None:
    wanted = _free_block()
    assert len(set(pick_ports({"temporal": wanted, "kube": wanted, "etcd": wanted}).values())) == 3


def test_ports_are_remembered_and_rubbish_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    assert remembered_ports(file) == DEFAULT_PORTS
    remember_ports(file, DEFAULT_PORTS | {"kube": 7777})
    assert remembered_ports(file) == DEFAULT_PORTS | {"kube": 7777}
    file.write_text("{")
    assert remembered_ports(file) == DEFAULT_PORTS
