"""How an update may proceed: what it waits for, who has to agree, and how long each step may take."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

DAY = 86_400.0


class UpdatePolicy(BaseModel):
    """All times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drain: Literal["wait", "shutdown", "refuse", "live"] = "wait"
    """What to do while something uses the closure: wait until it is gone, unregister the apps and wait for the rest,
    end at once and name it, or let it stay: then every required service needs the agent, which holds the calls to the
    closure while it flips."""
    grace: float = Field(default=30.0, ge=0, le=DAY)
    """With `drain` shutdown: how long apps may end by themselves before they are unregistered."""
    restore_apps: bool = False
    """With `drain` shutdown: register the stopped apps again after the update, or after its rollback."""
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

    @model_validator(mode="after")
    def _fits_drain(self) -> "UpdatePolicy":
        if self.restore_apps and self.drain != "shutdown":
            raise ValueError(
                f"restore_apps: only drain shutdown stops apps, and drain is {self.drain}; leave restore_apps out, or "
                "use drain shutdown"
            )
        if self.drain == "shutdown" and self.grace >= self.drain_timeout:
            raise ValueError(
                f"grace: {self.grace:g} s leave nothing of the drain's {self.drain_timeout:g} s; choose a shorter "
                "grace, or a longer time for the drain"
            )
        return self
