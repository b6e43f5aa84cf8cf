"""The ways to bring a service to a release that come with taskroll, as they are named in ``services.yaml``."""

from enum import StrEnum


class StrategyName(StrEnum):
    """One member per strategy; `strategy_registry` says which class carries it out."""

    AGENT = "agent"
    """The service has `taskroll_agent` in its processes: it loads beside, flips at once, and attests."""
    RESTART = "restart"
    """The service reads the custom resources when it starts: its Deployment is restarted."""
    SYNC = "sync"
    """The service has the platform's own call by which it reads the custom resources again."""
    WEBHOOK = "webhook"
    """The service has an HTTP endpoint of its own that does what an agent does."""
