"""Cornserve's constants for a process outside of a cluster."""

from __future__ import annotations

import os
from pathlib import Path

from .launch import Launch


def set_constants(launch: Launch) -> None:
    """Set them before any of Cornserve's services is imported: those take most of them by value."""
    os.environ |= {
        "KUBERNETES_SERVICE_HOST": launch.kube_host,
        "KUBERNETES_SERVICE_PORT": str(launch.kube_port),
        "OTEL_SDK_DISABLED": "true",
        "SIDECAR_IS_LOCAL": "true",
        "CORNSERVE_IMAGE_PREFIX": "docker.io/cornserve",
        "CORNSERVE_IMAGE_TAG": "latest",
        "CORNSERVE_IMAGE_PULL_POLICY": "IfNotPresent",
    }
    from kubernetes_asyncio.config import incluster_config

    incluster_config.SERVICE_TOKEN_FILENAME = launch.token_file
    incluster_config.SERVICE_CERT_FILENAME = launch.authority_file

    from cornserve import constants

    constants.K8S_NAMESPACE = launch.namespace
    constants.TASKLIB_DIR = str(Path(launch.folder) / "tasklib")
    constants.UNIT_TASK_PROFILES_DIR = str(Path(launch.folder) / "profiles")
