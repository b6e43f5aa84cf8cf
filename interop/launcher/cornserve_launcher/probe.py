"""Lets a test look into a running service: code that it sends runs on the service's own event loop.

Only over a Unix socket in a folder that belongs to the test.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import textwrap
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

LINE_LIMIT = 4 * 1024 * 1024


async def serve_probe(path: Path) -> asyncio.Server:
    """Listen for requests `{"code": …}`, one a line; the code is the body of an async function and returns JSON."""
    path.unlink(missing_ok=True)
    return await asyncio.start_unix_server(_answer, path, limit=LINE_LIMIT)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            try:
                answer = {"value": await _run(json.loads(line)["code"])}
                encoded = json.dumps(answer)
            except Exception:
                encoded = json.dumps({"error": traceback.format_exc()})
            writer.write(encoded.encode() + b"\n")
            await writer.drain()
    finally:
        writer.close()


async def _run(code: str) -> Any:
    source = "async def probed():\n" + textwrap.indent(textwrap.dedent(code), "    ")
    names = _names()
    exec(compile(source, "<probe>", "exec"), names)
    return await cast("Callable[[], Awaitable[Any]]", names["probed"])()


def _names() -> dict[str, Any]:
    from cornserve.services.task_registry.descriptor_registry import DESCRIPTOR_REGISTRY
    from cornserve.services.task_registry.task_class_registry import TASK_CLASS_REGISTRY

    return {
        "DESCRIPTOR_REGISTRY": DESCRIPTOR_REGISTRY,
        "TASK_CLASS_REGISTRY": TASK_CLASS_REGISTRY,
        "asyncio": asyncio,
        "gc": gc,
        "os": os,
        "sys": sys,
        "living": living,
    }


def living(name: str) -> list[Any]:
    """All objects whose class has that name: the service's `AppManager`, `TaskManager`, `ResourceManager`…"""
    return [found for found in gc.get_objects() if type(found).__name__ == name]
