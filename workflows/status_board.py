"""Where the update stands, kept for the queries, the search attribute and the web UI's current details."""

from temporalio import workflow

from taskroll.models.status import Phase, Step, StepName, StepState, UpdateStatus

from .current_details import render
from .search_attributes import PHASE

DETAIL_LENGTH = 300
"""Characters of a step's detail: it is shown in one cell of a table."""


class StatusBoard:
    """The status, and everything that shows it. Each change is shown at once."""

    def __init__(self, status: UpdateStatus) -> None:
        self.status = status

    def begin(self, name: StepName) -> Step:
        """A step starts now."""
        step = Step(name=name, started_at=workflow.now())
        self.status.steps.append(step)
        self.show_details()
        return step

    def end(self, step: Step, state: StepState, detail: str = "") -> None:
        """The step ends now."""
        step.state = state
        step.ended_at = workflow.now()
        step.detail = detail[:DETAIL_LENGTH]
        self.show_details()

    def enter(self, phase: Phase, message: str = "", waiting_for: list[str] | None = None) -> None:
        """The update enters a phase."""
        self.status.phase = phase
        self.status.message = message
        self.status.waiting_for = waiting_for or []
        self.show(phase)

    def wait_for(self, whom: list[str], message: str = "") -> None:
        """Say whom the update waits for; nobody, where the list is empty."""
        self.status.waiting_for = whom
        self.status.message = message
        self.show_details()

    def show(self, phase: str) -> None:
        """Set the search attribute to the phase, or at the end the outcome: one event, and only where it changes."""
        if workflow.info().typed_search_attributes.get(PHASE) != phase:
            workflow.upsert_search_attributes([PHASE.value_set(phase)])  # pyright: ignore[reportUnknownMemberType]
        self.show_details()

    def show_details(self) -> None:
        """Render the current details anew."""
        workflow.set_current_details(render(self.status))
