"""``python -m examples.demo``: updates tasks in running services, takes a bad update back, rolls a good one back.

Exit codes: 0 where all was seen that the demo promises, 1 where not, 130 after Ctrl-C. Without a terminal it ends by
itself; in one it stays up until Ctrl-C.
"""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

INTERRUPTED = 130
DEFAULT_FOLDER = Path(__file__).parents[2] / "build" / "demo"


def main() -> int:
    """The exit code. Ctrl-C ends all in order, at any moment: while the program itself is loaded, too."""
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        arguments = _arguments()
        from .play import run

        return run(arguments)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\ninterrupted; everything has ended", file=sys.stderr)
        return INTERRUPTED


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--folder", type=_absolute, default=DEFAULT_FOLDER, help="for data, logs and report")
    parser.add_argument("--rate", type=float, default=150.0, help="requests per second on all services together")
    return parser.parse_args()


def _absolute(text: str) -> Path:
    return Path(text).absolute()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Temporal's SDK may crash at the interpreter's orderly end, which would change the exit code.
    os._exit(code)
