"""The command ``taskroll``, and ``python -m starter.cli``.

Imports of the commands take some tenths of a second, so Ctrl-C is in good hands before them.
"""

import signal
import sys
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    print("\ninterrupted; no update was sent", file=sys.stderr)  # noqa: T201
    sys.exit(130)


def main() -> None:
    """Entry point; exit status 130 after Ctrl-C."""
    # Until a command's event loop runs: that has a handler of its own.
    signal.signal(signal.SIGINT, _leave)
    from starter.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
