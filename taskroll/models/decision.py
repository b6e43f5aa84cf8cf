"""What people tell a running update."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from .names import Identity, NonEmptyLine, OneLine


class Vote(BaseModel):
    """Input of the signals ``approve`` and ``reject``, bound to the plan that the approver saw."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Identity
    reason: OneLine = ""
    plan_digest: str | None = None
    """Digest of the plan that was looked at; None takes the present one."""


class DecisionInput(Vote):
    """Input of the update ``decide``, which answers whether the decision was taken."""

    decision: Literal["approved", "rejected"]


class AbortInput(BaseModel):
    """Stop the update and take back what it did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Identity
    reason: OneLine = ""


class ReleaseInput(BaseModel):
    """Take the fence down by hand, and leave what the update did as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Identity
    reason: NonEmptyLine
    """Needed: the record is all that is left of why the cluster is as it is."""


class ResumeInput(BaseModel):
    """Try again what an update parked as «needs operator» could not finish."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Identity
    reason: OneLine = ""
