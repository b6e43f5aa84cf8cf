"""How the encoder is run."""

from sketchlib.task.unit.encoder import EncoderTask
from taskbase import ExecutionDescriptor


class EncoderDescriptor(ExecutionDescriptor[EncoderTask]):
    """Runs the encoder as a process of its own."""

    def executor_name(self) -> str:
        """One executor for each number of dimensions."""
        return f"encoder-{self.task.dimensions}"

    def arguments(self) -> list[str]:
        """All fields of the task, so that the executor computes what the callers ask for."""
        return [f"--{name}={value}" for name, value in sorted(self.task.model_dump().items())]
