"""How the demo speaks to whoever watches: numbered chapters, what happens and why, commands as typed."""

from rich.console import Console
from rich.text import Text

WIDTH = 120


class Telling:
    """Writes to stdout; colours only on a terminal, and not with ``NO_COLOR``."""

    def __init__(self) -> None:
        terminal = Console(highlight=False)
        # What a command prints is not to be folded where nobody's terminal is.
        self._console = terminal if terminal.is_terminal else Console(highlight=False, width=WIDTH)
        self._chapter = 0

    def chapter(self, title: str) -> None:
        """A numbered heading."""
        self._chapter += 1
        self._console.print()
        self._console.rule(Text(f"{self._chapter}. {title}", style="bold cyan"), align="left", characters="─")

    def say(self, text: str, style: str = "") -> None:
        """A paragraph: what happens, and why it matters."""
        self._console.print(Text(text, style=style))

    def command(self, line: str) -> None:
        """A command as typed."""
        self._console.print()
        self._console.print(Text(f"$ {line}", style="bold"), soft_wrap=True)

    def output(self, line: str) -> None:
        """A line that a command wrote."""
        self._console.print(Text("  │ ", style="dim").append(line, style=""), soft_wrap=True)

    def seen(self, text: str) -> None:
        """What the demo has checked by itself."""
        self._console.print(Text("  ✓ ", style="green").append(text, style="green"))

    def failed(self, text: str) -> None:
        """Why the demo ends early."""
        self._console.print()
        self._console.print(Text(f"✗ {text}", style="bold red"), soft_wrap=True)
