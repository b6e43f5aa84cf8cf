"""What every test may ask for: the real stack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskroll.devstack import DevStack, StackInfo, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackInfo]:
    """Temporal, etcd and kube-apiserver, started once for all tests, gone with the session.

    `TASKROLL_TEST_STACK=<path of a stack.json>` names one that runs already; it is used and left running.
    """
    if named := os.environ.get("TASKROLL_TEST_STACK"):
        running = running_stack(Path(named).parent)
        if running is None:
            pytest.fail(f"TASKROLL_TEST_STACK={named}: no stack runs there")
        yield running
        return
    with DevStack(tmp_path_factory.mktemp("stack")) as started:
        yield started
