"""All services of ``services.yaml``, and what is needed to reach them."""

from dataclasses import dataclass, field

from taskroll.cluster.connection import Cluster

from .agent_calls import AgentCalls
from .configuration import ServiceConfig, ServicesConfig
from .reach import Reach
from .strategy import Strategy
from .strategy_registry import strategy_class


@dataclass
class Fleet:
    """One per worker process; the verbs take it, with the namespace that an update is about."""

    config: ServicesConfig
    cluster: Cluster
    calls: AgentCalls
    """Open."""
    _strategies: dict[str, Strategy] = field(default_factory=dict[str, Strategy])

    def strategy(self, service: ServiceConfig) -> Strategy:
        """The strategy of that service; made at its first use."""
        name = service.strategy
        if name not in self._strategies:
            self._strategies[name] = strategy_class(name)(Reach(self.cluster, self.calls))
        return self._strategies[name]
