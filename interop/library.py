"""The versions of the small task library, as definitions."""

from __future__ import annotations

from functools import cache

from taskroll.tasklib.discovery import discover
from taskroll.tasklib.package_config import PackageConfig
from taskroll_agent.contracts import DefinitionContent

from .environment import TASKLIB, site_packages

CLASSES = ("ScribeTask", "DuetTask")


@cache
def library(version: int) -> tuple[DefinitionContent, ...]:
    """Version 1 or 2: the unit task `ScribeTask`, the composite `DuetTask`, the descriptor `ScribeDescriptor`."""
    config = PackageConfig(search_paths=(str(site_packages()),))
    package = discover(TASKLIB / f"v{version}" / "cornserve_tasklib", config)
    if package.problems:
        raise ValueError(f"version {version} of the task library: {package.problems}")
    return tuple(package.contents())


def duet_app() -> str:
    """Source of an app that uses `DuetTask`."""
    return (TASKLIB / "duet_app.py").read_text()
