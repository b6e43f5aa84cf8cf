"""Ready means usable: each check does what a client would do first, again and again until it works."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from taskroll.devstack.components import SEARCH_ATTRIBUTES

_PAUSE = 0.05
_REQUEST_TIMEOUT = 2.0

_T = TypeVar("_T")


async def temporal_ready(address: str, namespace: str, ui_url: str) -> None:
    """Return once the namespace answers, every search attribute is there, and the web UI serves."""
    client = await _until(lambda: Client.connect(address, namespace=namespace))

    async def described() -> None:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
        answer = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
        missing = SEARCH_ATTRIBUTES.keys() - answer.custom_attributes.keys()
        if missing:
            raise _NotYet(f"search attributes {sorted(missing)} are missing")

    await _until(described)
    async with httpx.AsyncClient(timeout=_REQUEST_TIMEOUT, trust_env=False) as http:
        await _until(lambda: _get(http, ui_url))


async def etcd_ready(url: str) -> None:
    """Return once etcd calls itself healthy."""
    async with httpx.AsyncClient(base_url=url, timeout=_REQUEST_TIMEOUT, trust_env=False) as http:
        await _until(lambda: _get(http, "/health"))


async def kube_ready(url: str, token: str, certificate: Path) -> None:
    """Return once the API server is ready, and lists; `certificate` is the file that it makes at its first start."""
    await _until(lambda: _load(certificate))
    async with _kube_client(url, token, certificate) as http:
        await _until(lambda: _get(http, "/readyz"))
        # Made by a controller shortly after the server is ready: without it nothing can be created.
        await _until(lambda: _get(http, "/api/v1/namespaces/default"))


async def controller_manager_ready(url: str, token: str, certificate: Path) -> None:
    """Return once a controller has done something: the default service account is there."""
    async with _kube_client(url, token, certificate) as http:
        await _until(lambda: _get(http, "/api/v1/namespaces/default/serviceaccounts/default"))


class _NotYet(Exception):
    """Answered, but not as it will."""


async def _until(attempt: Callable[[], Awaitable[_T]]) -> _T:
    while True:
        try:
            return await attempt()
        except (httpx.HTTPError, RPCError, RuntimeError, OSError, _NotYet):
            # RuntimeError: what the SDK raises when it cannot connect. The caller holds the deadline.
            await asyncio.sleep(_PAUSE)


async def _get(http: httpx.AsyncClient, path: str) -> None:
    (await http.get(path)).raise_for_status()


async def _load(certificate: Path) -> None:
    # May be half written: then it cannot be parsed, which is an ssl.SSLError, an OSError.
    ssl.create_default_context(cafile=str(certificate))


def _kube_client(url: str, token: str, certificate: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {token}"},
        verify=ssl.create_default_context(cafile=str(certificate)),
        timeout=_REQUEST_TIMEOUT,
        trust_env=False,
    )
