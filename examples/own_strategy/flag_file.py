"""Strategy ``flag-file``: for processes on this machine that look at a file to see which release they shall run.

Each process of the service writes beside it, in ``<address>.running``, what it runs: the digest of its content.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from taskroll.services.answers import Answered, Unreachable, Unverified
from taskroll.services.configuration import ServiceConfig
from taskroll.services.deadline import Deadline
from taskroll.services.reach import Reach
from taskroll.services.replica import Replica
from taskroll.services.strategy import Answers, OnDone, Traits, same_for_all
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

    async def prepare(
        self,
        service: ServiceConfig,
        replicas: Sequence[Replica],
        request: PrepareRequest,
        deadline: Deadline,
        on_done: OnDone | None = None,
    ) -> Answers[PrepareAnswer]:
        del service, request, deadline
        return same_for_all(replicas, Unverified("these processes load nothing before the commit"), on_done)

    async def invalidate(
        self,
        service: ServiceConfig,
        replicas: Sequence[Replica],
        request: ActivateRequest,
        deadline: Deadline,
        on_done: OnDone | None = None,
    ) -> Answers[ActivateAnswer]:
        del deadline
        (_folder(service) / "wanted").write_text(request.model_dump_json())
        told = ActivateAnswer(epoch=request.epoch, content_digest=request.content_digest, already_active=False)
        return same_for_all(replicas, Answered(told), on_done)

    async def abort(
        self,
        service: ServiceConfig,
        replicas: Sequence[Replica],
        request: AbortRequest,
        deadline: Deadline,
        on_done: OnDone | None = None,
    ) -> Answers[AbortAnswer]:
        del service, request, deadline
        return same_for_all(replicas, Answered(AbortAnswer(dropped=False)), on_done)

    async def attest(
        self,
        service: ServiceConfig,
        replicas: Sequence[Replica],
        deadline: Deadline,
        on_done: OnDone | None = None,
        *,
        full: bool = False,
        once: bool = False,
    ) -> Answers[Attestation]:
        del deadline, full, once
        answers: Answers[Attestation] = []
        for replica in replicas:
            running = _folder(service) / f"{replica.pod}.running"
            if running.exists():
                answers.append((replica, Answered(Attestation.model_validate_json(running.read_text()))))
            else:
                answers.append((replica, Unreachable(f"{running} is not there")))
            if on_done is not None:
                on_done(*answers[-1])
        return answers


def _folder(service: ServiceConfig) -> Path:
    return Options.model_validate(service.options).folder
