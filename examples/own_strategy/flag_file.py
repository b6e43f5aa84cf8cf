"""Strategy ``flag-file``: for processes on this machine that look at a file to see which release they shall run.

Each process of the service writes beside it, in ``<address>.running``, what it runs: the digest of its content.
"""

from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from taskroll.services.answers import Answered, Unreachable, Unverified
from taskroll.services.configuration import ServiceConfig
from taskroll.services.reach import Reach
from taskroll.services.strategy import Traits
from taskroll.services.targets import Answers, Targets
from taskroll_agent.contracts import (
    AbortAnswer,
    AbortRequest,
    ActivateAnswer,
    ActivateRequest,
    Attestation,
    PrepareAnswer,
    PrepareRequest,
)


class Options(BaseModel):
    """What ``options`` of the service holds."""

    model_config = ConfigDict(extra="forbid")

    folder: Path


class FlagFileStrategy:
    """See `taskroll.services.strategy.Strategy` for what each method has to do."""

    traits: ClassVar[Traits] = Traits(
        before_commit="cannot be checked",
        after_commit="each process writes what it runs",
        options=Options,
    )

    def __init__(self, reach: Reach) -> None:
        del reach  # the API server, and the HTTP session of this worker

    async def prepare(self, targets: Targets, request: PrepareRequest) -> Answers[PrepareAnswer]:
        return targets.all(Unverified("these processes load nothing before the commit"))

    async def invalidate(self, targets: Targets, request: ActivateRequest) -> Answers[ActivateAnswer]:
        (_folder(targets.service) / "wanted").write_text(request.model_dump_json())
        told = ActivateAnswer(epoch=request.epoch, content_digest=request.content_digest, already_active=False)
        return targets.all(Answered(told))

    async def abort(self, targets: Targets, request: AbortRequest) -> Answers[AbortAnswer]:
        return targets.all(Answered(AbortAnswer(dropped=False)))

    async def attest(self, targets: Targets, *, full: bool = False, once: bool = False) -> Answers[Attestation]:
        answers: Answers[Attestation] = []
        for replica in targets.replicas:
            running = _folder(targets.service) / f"{replica.pod}.running"
            if running.exists():
                answer = Answered(Attestation.model_validate_json(running.read_text()))
            else:
                answer = Unreachable(f"{running} is not there")
            answers.append(targets.one(replica, answer))
        return answers


def _folder(service: ServiceConfig) -> Path:
    return Options.model_validate(service.options).folder
