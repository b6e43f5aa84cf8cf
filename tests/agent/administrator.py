"""Writes to a real API server what an agent reads."""

import base64
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from taskroll.devstack import StackInfo
from taskroll_agent import AgentSettings
from taskroll_agent.contracts import POINTER_NAME, ReleasePointer, revision_name
from taskroll_agent.memory_cluster import MemoryCluster
from tests.agent.sources import make_revisions


class Administrator:
    """Writes what an agent reads, as an administrator of a real API server, in a namespace of its own."""

    def __init__(self, info: StackInfo, namespace: str, folder: Path) -> None:
        config = yaml.safe_load(info.kubeconfig.read_text())
        by_name = {user["name"]: user["user"] for user in config["users"]}
        self.url, self.namespace = info.kube_url, namespace
        self.token: str = by_name[info.kube_context]["token"]
        self.ca_file = folder / f"{namespace}-ca.crt"
        self.ca_file.write_bytes(base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
        self.http = httpx.Client(
            base_url=info.kube_url,
            verify=ssl.create_default_context(cafile=str(self.ca_file)),
            # The admission policies, where some test installed them, let only taskroll write the pointer.
            headers=[
                ("Authorization", f"Bearer {self.token}"),
                ("Impersonate-User", "admin"),
                ("Impersonate-Group", "system:masters"),
                ("Impersonate-Group", "taskroll:system"),
            ],
            timeout=30,
        )
        self.core = f"/api/v1/namespaces/{namespace}"
        self.revisions = f"/apis/apps/v1/namespaces/{namespace}/controllerrevisions"
        self.post("/api/v1/namespaces", {"metadata": {"name": namespace}})

    def post(self, path: str, body: dict[str, Any], *, exists: bool = False) -> dict[str, Any]:
        response = self.http.post(path, json=body)
        if not (exists and response.status_code == 409):
            response.raise_for_status()
        return response.json()

    def store(self, name: str, data: dict[str, Any], *, exists: bool = True) -> None:
        """Write a ControllerRevision."""
        body = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": name}, "revision": 1}
        self.post(self.revisions, {**body, "data": data}, exists=exists)

    def write_release(self, sources: Mapping[str, str], *, epoch: int, request_id: str = "req") -> ReleasePointer:
        """Store ``module.Class`` → source and a release of them, without moving the pointer."""
        memory = MemoryCluster()
        contents = [found.content for found in make_revisions(sources).values()]
        for content in contents:
            self.store(revision_name(content.key, content.digest()), content.model_dump(mode="json"))
        pointer = memory.write_release(memory.add(*contents), epoch=epoch, request_id=request_id)
        self.store(pointer.release, memory.releases[pointer.release].model_dump(mode="json"))
        return pointer

    def move(self, data: dict[str, str]) -> None:
        """Write the pointer's ConfigMap."""
        path, body = f"{self.core}/configmaps", {"metadata": {"name": POINTER_NAME}, "data": data}
        if self.http.put(f"{path}/{POINTER_NAME}", json=body).status_code == 404:
            self.post(path, body)

    def commit(self, sources: Mapping[str, str], *, epoch: int, request_id: str = "req") -> ReleasePointer:
        pointer = self.write_release(sources, epoch=epoch, request_id=request_id)
        self.move(pointer.data())
        return pointer

    def settings(self, **changed: Any) -> AgentSettings:
        given: dict[str, Any] = {
            "namespace": self.namespace,
            "kube_url": self.url,
            "kube_ca_file": self.ca_file,
            "kube_token": self.token,
            "pod": "pod-1",
            "token": "secret",
        }
        return AgentSettings(**(given | changed))
