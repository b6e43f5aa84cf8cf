"""Ask the API server what of the worker's role this worker does not have."""

from dataclasses import dataclass

from temporalio import activity

from taskroll.cluster.connection import Cluster
from taskroll.cluster.rights import worker_lacks


@dataclass
class WorkerRights:
    cluster: Cluster

    @activity.defn(name="worker-rights")
    async def run(self, namespace: str) -> list[str]:
        """Rights that are not granted, such as ``patch deployments``."""
        return await worker_lacks(self.cluster, namespace)
