"""How an update may proceed: what it waits for, who has to agree, and how long each step may take."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

DAY = 86_400.0


class UpdatePolicy(BaseModel):
    """All times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drain: Literal["wait", "refuse", "live"] = "wait"
    """What to do while instances of the closure live: wait for them to finish, end at once and name them, or let them
    stay: then every required service needs the agent, which holds the calls to the closure while it flips."""
    live_timeout: float = Field(default=30.0, gt=0, le=600)
    """With ``drain: live``, how long to wait for calls in flight while new ones are held."""
    cancel_calls: bool = False
    """With ``drain: live``, whether calls still in flight then are cancelled, instead of the update taken back."""
    approval: Literal["none", "required"] = "none"
    """Whether somebody has to approve the plan before the fence goes up."""
    approval_timeout: float = Field(default=7 * DAY, gt=0, le=90 * DAY)
    fence: Literal["required", "best-effort"] = "required"
    """Whether the API server has to refuse what would undermine the update, or may lack the policies that do."""
    fence_timeout: float = Field(default=DAY, gt=0, le=30 * DAY)
    """How long to stand in line behind an overlapping update."""
    drain_timeout: float = Field(default=3600.0, gt=0, le=30 * DAY)
    prepare_timeout: float = Field(default=300.0, gt=0, le=DAY)
    verify_timeout: float = Field(default=300.0, gt=0, le=DAY)
    rollback_timeout: float = Field(default=900.0, gt=0, le=DAY)
    """Budget of the compensations; when it is used up the update is parked as «needs operator»."""
