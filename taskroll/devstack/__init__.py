"""Real Temporal, etcd and kube-apiserver on this machine, without containers.

The binaries are found, downloaded or built (`binaries`), run under a supervisor that ends them whatever happens to the
process that asked for them (`supervisor`), and described by a `StackInfo` (`info`). `DevStack` (`stack`) is the front.
"""

from taskroll.devstack.errors import DevStackError, StackAlreadyRunning, StackNotRunning, StackStartFailed
from taskroll.devstack.info import ComponentInfo, StackInfo
from taskroll.devstack.stack import DevStack
from taskroll.devstack.status import StackStatus, delete_data, running_stack, stack_status, stop_stack

__all__ = [
    "ComponentInfo",
    "DevStack",
    "DevStackError",
    "StackAlreadyRunning",
    "StackInfo",
    "StackNotRunning",
    "StackStartFailed",
    "StackStatus",
    "delete_data",
    "running_stack",
    "stack_status",
    "stop_stack",
]
