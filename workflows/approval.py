"""The approval of a plan: who may decide, on what, and what was decided."""

from datetime import datetime

from temporalio.exceptions import ApplicationError

from taskroll.models.decision import DecisionInput
from taskroll.models.errors import WrongPhase
from taskroll.models.plan import PlanSummary
from taskroll.models.status import Decision


class Approval:
    """Collects decisions. The first one that fits the open plan wins; all others change nothing."""

    def __init__(self) -> None:
        self._plan_digest: str | None = None
        self.decisions: list[Decision] = []

    def open(self, plan: PlanSummary) -> None:
        """Ask for a decision on this plan; what was decided on another one no longer counts."""
        self._plan_digest = plan.digest

    @property
    def taken(self) -> Decision | None:
        """The decision on the open plan, None while there is none."""
        return next((decision for decision in self.decisions if decision.plan_digest == self._plan_digest), None)

    def objection(self, wish: DecisionInput) -> str | None:
        """Why this decision cannot be taken now; None where it can."""
        if self._plan_digest is None:
            return "the update does not wait for an approval"
        if wish.plan_digest not in (None, self._plan_digest):
            return (
                f"plan_digest {wish.plan_digest} is not the one that waits for approval, which is {self._plan_digest}: "
                "look at the present plan and decide on that"
            )
        if self.taken is not None:
            return f"{self.taken.by} has already {self.taken.decision} this plan"
        return None

    def validate(self, wish: DecisionInput) -> None:
        """Refuse a decision that cannot be taken.

        Raises:
            ApplicationError: of type ``WrongPhase``.
        """
        objection = self.objection(wish)
        if objection is not None:
            raise ApplicationError(objection, type=WrongPhase.code)

    def take(self, wish: DecisionInput, now: datetime) -> Decision | None:
        """Record a decision; None, and nothing recorded, where it cannot be taken."""
        if self._plan_digest is None or self.objection(wish) is not None:
            return None
        decision = Decision(
            decision=wish.decision, by=wish.by, reason=wish.reason, plan_digest=self._plan_digest, at=now
        )
        self.decisions.append(decision)
        return decision
