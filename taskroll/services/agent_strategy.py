"""The strategy ``agent``: the service's processes have `taskroll_agent`, which does the work when told over HTTP."""

from typing import ClassVar

from pydantic import SecretStr

from taskroll_agent.contracts import (
    AbortAnswer,
    AbortRequest,
    ActivateAnswer,
    ActivateRequest,
    Attestation,
    PrepareAnswer,
    PrepareRequest,
)

from .configuration import InvalidConfiguration, ServiceConfig
from .reach import Reach
from .strategy import Traits
from .targets import Answers, Targets


class AgentStrategy:
    """Makes the same call to the agent in every replica, side by side. See `strategy.Strategy` for the methods."""

    traits: ClassVar[Traits] = Traits(
        before_commit="each replica loads the new classes",
        after_commit="each replica attests its live classes",
        reads_definitions=False,
        tells_moment=True,
    )

    def __init__(self, reach: Reach) -> None:
        self._calls = reach.calls

    async def prepare(self, targets: Targets, request: PrepareRequest) -> Answers[PrepareAnswer]:
        """``POST /prepare`` to each."""
        token = agent_token(targets.service)
        return await targets.each(lambda r, d: self._calls.prepare(r, token, request, d))

    async def invalidate(self, targets: Targets, request: ActivateRequest) -> Answers[ActivateAnswer]:
        """``POST /activate`` to each."""
        token = agent_token(targets.service)
        return await targets.each(lambda r, d: self._calls.activate(r, token, request, d))

    async def abort(self, targets: Targets, request: AbortRequest) -> Answers[AbortAnswer]:
        """``POST /abort`` to each."""
        token = agent_token(targets.service)
        return await targets.each(lambda r, d: self._calls.abort(r, token, request, d))

    async def attest(self, targets: Targets, *, full: bool = False, once: bool = False) -> Answers[Attestation]:
        """``GET /attestation`` from each, with a nonce of its own each."""
        token = agent_token(targets.service)
        return await targets.each(lambda r, d: self._calls.attest(r, token, d, full=full, once=once))


def agent_token(service: ServiceConfig) -> SecretStr:
    """The bearer token of that service's agents.

    Raises:
        InvalidConfiguration: where none is configured, or it cannot be read.
    """
    if service.token is None:
        raise InvalidConfiguration(f"service {service.name}: token: is missing; strategy {service.strategy} needs one")
    return service.token.read()
