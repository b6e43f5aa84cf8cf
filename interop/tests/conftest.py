"""The stack of the main suite, and a fleet of stock services on it for each test that asks for one."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from interop.fleet import Fleet
from taskroll.devstack import StackInfo
from tests.conftest import installed_stack, pytest_configure, stack

__all__ = ["installed_stack", "pytest_configure", "stack"]

LOGS = Path("build") / "interop"


@pytest.fixture
async def fleet(installed_stack: StackInfo) -> AsyncGenerator[Fleet]:
    """Gateway, resource manager and two task dispatchers, without the agent."""
    namespace = f"cornserve-{secrets.token_hex(4)}"
    async with Fleet(installed_stack, namespace, LOGS / namespace) as started:
        yield started
