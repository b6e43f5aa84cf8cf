"""Which class carries out which strategy: those that come with taskroll, and those that other distributions bring."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, cast

from pydantic import ValidationError

from .agent_strategy import AgentStrategy
from .configuration import STRATEGY_GROUP, InvalidConfiguration, ServiceConfig, ServicesConfig
from .restart_strategy import RestartStrategy
from .strategy import StrategyClass, Traits
from .strategy_name import StrategyName
from .sync_strategy import SyncStrategy
from .webhook_strategy import WebhookStrategy

STRATEGIES: Mapping[str, StrategyClass] = {
    StrategyName.AGENT: AgentStrategy,
    StrategyName.RESTART: RestartStrategy,
    StrategyName.SYNC: SyncStrategy,
    StrategyName.WEBHOOK: WebhookStrategy,
}
"""One line per strategy: its name in ``services.yaml`` → what makes it."""


def strategy_class(name: str) -> StrategyClass:
    """The class of that name.

    An entry point and not a dotted path in the file: whoever may write ``services.yaml`` chooses among what is
    installed, and cannot have the worker import something else.

    Raises:
        InvalidConfiguration: where there is none, or it cannot be imported, or is no strategy.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    for entry in entry_points(group=STRATEGY_GROUP, name=name):
        try:
            found: Any = entry.load()
        except Exception as error:
            raise InvalidConfiguration(
                f"strategy {name}: {entry.value} cannot be imported: {type(error).__name__}: {error}; "
                "mend or remove the distribution that brings it"
            ) from error
        if not isinstance(getattr(found, "traits", None), Traits):
            raise InvalidConfiguration(
                f"strategy {name}: {entry.value} has no `traits`; see «Another strategy» in docs/services.md"
            )
        return cast(StrategyClass, found)
    raise InvalidConfiguration(f"strategy {name}: there is none of that name; install the distribution that brings it")


def check_strategies(config: ServicesConfig) -> None:
    """Import the strategy of every service, and have it check its own options and what it needs installed.

    Raises:
        InvalidConfiguration: with one line per finding in `details`.
    """
    findings = [finding for service in config.services for finding in _findings(service)]
    if findings:
        raise InvalidConfiguration("; ".join(findings), details=findings)


def _findings(service: ServiceConfig) -> list[str]:
    try:
        traits = strategy_class(service.strategy).traits
    except InvalidConfiguration as error:
        return [f"service {service.name}, strategy: {error.message}"]
    if traits.missing is not None and (missing := traits.missing()) is not None:
        return [f"service {service.name}, strategy {service.strategy}: {missing}"]
    if service.strategy in STRATEGIES:
        return []
    if traits.options is None:
        return [] if service.options is None else [f"service {service.name}, options: {service.strategy} has none"]
    try:
        traits.options.model_validate(service.options or {})
    except ValidationError as error:
        return [
            f"service {service.name}, options{''.join(f'.{part}' for part in one['loc'])}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False, include_context=False)
        ]
    return []
