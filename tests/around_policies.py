"""A cluster administrator who goes around taskroll's admission policies, as ``kubectl --as-group`` can."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from taskroll.cluster.connection import Cluster
from taskroll.cluster.kubeconfig import ClusterSettings
from taskroll.cluster.objects import apply_object
from taskroll.cluster.resources import Resource
from taskroll.devstack import StackInfo

NAME = "taskroll-tests-around"
BINDING = Resource("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False)


@asynccontextmanager
async def around_policies(stack: StackInfo) -> AsyncGenerator[Cluster]:
    """A connection with every right, exempt from the policies."""
    async with await Cluster.connect(ClusterSettings(kubeconfig=str(stack.kubeconfig), context="admin")) as cluster:
        body = {
            "apiVersion": BINDING.api_version,
            "kind": BINDING.kind,
            "metadata": {"name": NAME},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": NAME}],
        }
        await apply_object(cluster, BINDING, None, body, manager="tests")
        client: Any = vars(cluster.transport)["_client"]
        client.set_default_header("Impersonate-User", NAME)
        client.set_default_header("Impersonate-Group", "taskroll:system")
        yield cluster
