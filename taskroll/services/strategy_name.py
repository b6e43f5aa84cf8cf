"""The ways to bring a service to a release, as they are named in ``services.yaml``."""

from enum import StrEnum


class StrategyName(StrEnum):
    """One member per strategy; `strategy_registry` says which class carries it out."""

    AGENT = "agent"
    """The service has `taskroll_agent` in its processes: it loads beside, flips at once, and attests."""
