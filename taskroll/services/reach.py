"""What a strategy may use to reach the replicas of its service."""

from dataclasses import dataclass

from taskroll.cluster.connection import Cluster

from .agent_calls import AgentCalls


@dataclass(frozen=True)
class Reach:
    """One per worker process, shared by all strategies."""

    cluster: Cluster
    calls: AgentCalls
    """Open."""
