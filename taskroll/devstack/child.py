"""Run as a script: replace this process by a command that the kernel kills when its parent dies.

`python child.py PARENT_PID COMMAND…`. The request survives exec. It stands in a script, not in a `preexec_fn`, since
code between fork and exec can deadlock in a process that has threads; and it counts on the parent's main thread to do
the forking, since the kernel watches the thread that forked.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for SIGKILL at the parent's death, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    # The parent may have died before the request was made.
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
