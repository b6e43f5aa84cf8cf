"""Which class carries out which strategy."""

from collections.abc import Callable, Mapping

from .agent_calls import AgentCalls
from .agent_strategy import AgentStrategy
from .strategy import Strategy
from .strategy_name import StrategyName

STRATEGIES: Mapping[StrategyName, Callable[[AgentCalls], Strategy]] = {
    StrategyName.AGENT: AgentStrategy,
}
"""One line per strategy: its name in ``services.yaml`` → what makes it."""
